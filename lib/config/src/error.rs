//! What is wrong, and where.

use std::fmt;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Path of the file, name of the variable, or `flag --x`.
    pub source: String,
    /// Line from 1; 0 where there is none (environment, flags, a key that is missing).
    pub line: u64,
    /// Column from 1; 0 where there is none.
    pub column: u64,
    /// What is wrong, what was expected, and what may have been meant.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error { source, line: 0, message, .. } => write!(f, "{source}: {message}"),
            Error { source, line, column, message } => write!(f, "{source}:{line}:{column}: {message}"),
        }
    }
}

/// All mistakes of one load, a line each; never empty when it came from [`crate::load`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(pub Vec<Error>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}
