//! The data plane: worker threads that own every TUN and UDP descriptor and every peer.
//!
//! The rest of the program speaks to it by whole states: a [`Plan`] says what shall be, `apply` answers with a
//! [`Receipt`], `observe` with a [`Snapshot`]. What a plan leaves as it was keeps its session.

mod plan;

pub use plan::{
    Endpoint, LinkId, LinkPlan, LinkSnapshot, Plan, Receipt, SiteId, SitePlan, Snapshot, SocketId, SocketPlan,
    SocketSnapshot,
};
