//! HTTP for machines: Prometheus and the kubelet.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::ask;
use crate::doc::{Doc, Ready};
use crate::serve::{self, ServeError};
use crate::{Answer, Call, Query, Request, metrics};

/// Listens and serves until dropped. See [`HttpServer::bind`].
pub async fn serve_http(address: SocketAddr, calls: mpsc::Sender<Call>) -> Result<(), ServeError> {
    HttpServer::bind(address)?.run(calls).await;
    Ok(())
}

/// `/metrics`, `/livez` and `/readyz`, listening.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
}

impl HttpServer {
    /// Listens. Must be called inside a tokio runtime.
    pub fn bind(address: SocketAddr) -> Result<HttpServer, ServeError> {
        // Tokio's own bind resolves names and so is async; an address needs no resolving. std sets SO_REUSEADDR.
        let listener = std::net::TcpListener::bind(address)
            .and_then(|listener| listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)));
        listener.map(|listener| HttpServer { listener }).map_err(|error| ServeError::Listen { address, error })
    }

    /// Where it listens; the port is the kernel's choice if 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves until dropped.
    pub async fn run(self, calls: mpsc::Sender<Call>) {
        let router = Router::new()
            .route("/metrics", get(handle_metrics))
            .route("/livez", get(handle_livez))
            .route("/readyz", get(handle_readyz))
            .fallback(async || (StatusCode::NOT_FOUND, "Biplane serves /metrics, /livez and /readyz here\n"))
            .with_state(calls);
        serve::serve(&self.listener, router).await;
    }
}

async fn handle_metrics(State(calls): State<mpsc::Sender<Call>>) -> Response {
    match ask_doc(&calls, Query::Metrics).await {
        Ok(Doc::Metrics(numbers)) => {
            ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::render(&numbers)).into_response()
        }
        Ok(other) => unavailable(format!("the core answered with {} instead of Metrics", other.kind())),
        Err(words) => unavailable(words),
    }
}

/// Well as long as the core answers at all: a daemon that waits for its store or for peers is alive, and restarting it
/// would not help.
async fn handle_livez(State(calls): State<mpsc::Sender<Call>>) -> Response {
    match ask::ask(&calls, Request::Query(Query::Ready)).await {
        Ok(_) => "ok\n".into_response(),
        Err(none) => unavailable(none.to_string()),
    }
}

async fn handle_readyz(State(calls): State<mpsc::Sender<Call>>) -> Response {
    match ask_doc(&calls, Query::Ready).await {
        Ok(Doc::Ready(Ready { ready: true, .. })) => "ok\n".into_response(),
        Ok(Doc::Ready(Ready { reasons, .. })) if reasons.is_empty() => unavailable("not ready".to_owned()),
        Ok(Doc::Ready(Ready { reasons, .. })) => unavailable(format!("not ready: {}", reasons.join("\nnot ready: "))),
        Ok(other) => unavailable(format!("the core answered with {} instead of Ready", other.kind())),
        Err(words) => unavailable(words),
    }
}

async fn ask_doc(calls: &mpsc::Sender<Call>, query: Query) -> Result<Doc, String> {
    match ask::ask(calls, Request::Query(query)).await {
        Ok(Answer::Doc(doc)) => Ok(*doc),
        Ok(Answer::Said(words) | Answer::Refused(words)) => Err(words),
        Err(none) => Err(none.to_string()),
    }
}

fn unavailable(words: String) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, words + "\n").into_response()
}
