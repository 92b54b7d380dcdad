//! Why a command did not end well, and its exit code.

use std::io;
use std::process::ExitCode;

use status::client::ClientError;

/// Why a command did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The daemon did not answer, or said no.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What was looked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// The thing checked is not well, in words.
    #[error("{0}")]
    Unwell(String),
    /// The daemon speaks another language.
    #[error("{0}: use a `biplane` of the daemon's version")]
    Strange(String),
    /// Patience ended.
    #[error("{0}")]
    TimedOut(String),
    /// stdin, stdout or a file.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Failure {
    /// Whoever reads has read enough: `biplane route list | head -1`.
    pub(crate) fn is_pipe(&self) -> bool {
        matches!(self, Failure::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// 1 not well or refused, 2 usage, 3 cannot reach the daemon, 4 timed out.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Client(error) => error.exit_code(),
            Failure::NotFound(_) | Failure::Unwell(_) | Failure::Io(_) => 1,
            Failure::Strange(_) => 3,
            Failure::TimedOut(_) => 4,
        })
    }
}
