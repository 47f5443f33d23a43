//! A council ends an agreement at a gateway, without the operator.

use std::time::Duration;

use turnpike::bundle::Effect;
use turnpike::lab::guard::skip;

use crate::place::{Build, CLAIMS4, PATIENCE, Place};
use crate::talk::{echo, exchange, open, reaches};

#[test]
fn what_a_council_revokes_stays_revoked_until_a_bundle_knows_of_it() {
    if skip("what_a_council_revokes_stays_revoked_until_a_bundle_knows_of_it") {
        return;
    }
    let place = Place::new();
    let [_hub, leeds, _bradford] = place.up();
    echo(&place.claims, 443);
    let mut flow = open(&place.benefits, CLAIMS4, 443);
    flow.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let revoked = place.notice(Effect::Revoke, 1);
    place.narrow("leeds-1", &revoked).expect("taken");
    assert!(!exchange(&mut flow), "an established flow went on");
    assert!(!reaches(&place.benefits, CLAIMS4, 443));
    assert_eq!(place.status("leeds-1").withheld[0].reason, "revoked");
    // A restart, and a bundle that does not know of it, change nothing.
    assert!(leeds.stop(PATIENCE).expect("stopped").success());
    let _again = place.start("leeds-1");
    place.wait_for_tunnels();
    place.rebuild(Build { generation: 2, ..Build::default() });
    assert!(!reaches(&place.benefits, CLAIMS4, 443));
    // The agreement was renewed: the bundle knows of the notice, which is worth nothing from then on.
    place.rebuild(Build { generation: 3, settled: 1, ..Build::default() });
    assert!(reaches(&place.benefits, CLAIMS4, 443));
    let replayed = place.narrow("leeds-1", &revoked).expect_err("a refusal");
    assert!(replayed.contains("numbers rise"), "{replayed}");
    assert!(reaches(&place.benefits, CLAIMS4, 443));
}

#[test]
fn a_council_suspends_and_lifts_at_the_hub() {
    if skip("a_council_suspends_and_lifts_at_the_hub") {
        return;
    }
    let place = Place::new();
    let _running = place.up();
    echo(&place.claims, 443);
    open(&place.benefits, CLAIMS4, 443);
    place.narrow("hub-a", &place.notice(Effect::Suspend, 1)).expect("taken");
    assert!(!reaches(&place.benefits, CLAIMS4, 443));
    place.narrow("hub-a", &place.notice(Effect::Lift, 2)).expect("taken");
    assert!(reaches(&place.benefits, CLAIMS4, 443));
    let mut forged = place.notice(Effect::Revoke, 3);
    let at = forged.windows(7).position(|octets| octets == b"ed25519").expect("a signature") + 10;
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    let refused = place.narrow("hub-a", &forged).expect_err("a refusal");
    assert!(refused.contains("signature"), "{refused}");
    assert!(reaches(&place.benefits, CLAIMS4, 443));
}
