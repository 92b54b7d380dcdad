//! A request's way to the core and back, and what HTTP makes of the answer.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::{Answer, Call, Request, doc};

/// How long the core may take before the asker is told that it does not answer. The core works on no event for
/// longer than a few milliseconds, so this long means that it is stuck or the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Sends a request to the core and waits for its answer.
pub(crate) async fn ask(calls: &mpsc::Sender<Call>, request: Request) -> Result<Answer, NoAnswer> {
    let (answer, taken) = oneshot::channel();
    let both = async {
        calls.send(Call { request, answer }).await.map_err(|_| NoAnswer::Stopping)?;
        taken.await.map_err(|_| NoAnswer::Stopping)
    };
    timeout(PATIENCE, both).await.unwrap_or(Err(NoAnswer::Stuck))
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// The core has gone.
    #[error("the daemon is stopping")]
    Stopping,
    /// The core takes no calls.
    #[error("the daemon's core did not answer within {} s: it is stuck, or the machine is overloaded; see its log", PATIENCE.as_secs())]
    Stuck,
}

/// A body that is words and no document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Words {
    /// [`doc::API_VERSION`].
    pub(crate) api_version: String,
    /// What kind of words.
    pub(crate) kind: WordsKind,
    /// The words.
    pub(crate) message: String,
}

/// What kind of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WordsKind {
    /// An operation was taken.
    Said,
    /// The core says no.
    Refused,
    /// The question was no good.
    BadRequest,
    /// The core cannot be asked.
    Unavailable,
}

/// Words as a response.
pub(crate) fn words(kind: WordsKind, message: impl Into<String>) -> Response {
    let status = match kind {
        WordsKind::Said => StatusCode::OK,
        WordsKind::Refused => StatusCode::CONFLICT,
        WordsKind::BadRequest => StatusCode::BAD_REQUEST,
        WordsKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    let words = Words { api_version: doc::API_VERSION.to_owned(), kind, message: message.into() };
    (status, Json(words)).into_response()
}

/// The answer as a response: a document, or words.
pub(crate) fn respond(answer: Result<Answer, NoAnswer>) -> Response {
    match answer {
        Ok(Answer::Doc(body)) => Json(doc::Document::from(*body)).into_response(),
        Ok(Answer::Said(message)) => words(WordsKind::Said, message),
        Ok(Answer::Refused(message)) => words(WordsKind::Refused, message),
        Err(none) => words(WordsKind::Unavailable, none.to_string()),
    }
}
