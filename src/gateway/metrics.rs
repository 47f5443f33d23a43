//! `/metrics`, answered from the status document.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response as Answer};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::control::{self, Caller, Question, Request, Response};
use super::error::GatewayError;
use super::settings::{METRICS_PORT, Metrics};
use crate::http;
use crate::telemetry::conditions::Condition;
use crate::telemetry::exposition::{CONTENT_TYPE, Exposition};

/// Listens wherever that is possible before the management address exists.
///
/// # Errors
/// A port in use, or an address that was named and cannot be had.
pub fn listen(metrics: &Metrics) -> Result<Vec<TcpListener>, GatewayError> {
    match metrics {
        Metrics::At(addresses) => addresses.iter().map(|&address| at(address)).collect(),
        Metrics::Default => match at(SocketAddr::from((Ipv4Addr::LOCALHOST, METRICS_PORT))) {
            Ok(listener) => Ok(vec![listener]),
            // Loopback may be down in a namespace: no reason to carry no traffic.
            Err(GatewayError::Listen { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        },
    }
}

/// Listens on the management address too, once the tunnel's device has it.
///
/// # Errors
/// The condition that says why not.
pub fn listen_managed(metrics: &Metrics, address: IpAddr) -> Result<Option<TcpListener>, Condition> {
    match metrics {
        Metrics::At(_) => Ok(None),
        Metrics::Default => {
            let address = SocketAddr::new(address, METRICS_PORT);
            let cause = |error: GatewayError| Condition::MetricsUnserved { address, cause: error.to_string() };
            at(address).map(Some).map_err(cause)
        }
    }
}

fn at(address: SocketAddr) -> Result<TcpListener, GatewayError> {
    http::listen(address).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => GatewayError::PortInUse { protocol: "TCP", address, of: " (metrics)".into() },
        _ => GatewayError::Listen { address, cause: error.to_string() },
    })
}

#[derive(Clone)]
struct Shared {
    exposition: Arc<Exposition>,
    questions: mpsc::Sender<Question>,
}

/// What is served: `/metrics` and nothing else.
///
/// # Errors
/// A fault in the table of instruments.
pub fn router(questions: mpsc::Sender<Question>) -> Result<Router, GatewayError> {
    let exposition = Exposition::new()
        .map_err(|error| GatewayError::Runtime { what: "registering metrics", cause: error.to_string() })?;
    let shared = Shared { exposition: Arc::new(exposition), questions };
    Ok(Router::new().route("/metrics", get(metrics)).with_state(shared))
}

async fn metrics(State(shared): State<Shared>) -> Answer {
    let status = match control::put(Request::Status, Caller::default(), &shared.questions).await {
        Response::Status(status) => Arc::from(status),
        Response::InForce(_) | Response::Refused(_) | Response::Staged(_) => {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        Response::Done(text) | Response::Error(text) => {
            return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
        }
    };
    match shared.exposition.render(status) {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
