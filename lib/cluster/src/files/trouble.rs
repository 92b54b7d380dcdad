//! Why the store cannot be read or written, in words.

use std::fmt;
use std::path::Path;

use rustix::io::Errno;

/// What could not be done, where, why, and the cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    words: String,
}

impl Trouble {
    /// A system call failed: "cannot `action` PATH: error; cure".
    pub(crate) fn new(action: &str, path: &Path, errno: Errno) -> Trouble {
        let why = std::io::Error::from(errno);
        let words = format!("cannot {action} {}: {why}", path.display());
        match cure(errno) {
            Some(cure) => Trouble { words: format!("{words}; {cure}") },
            None => Trouble { words },
        }
    }

    /// Anything else that keeps the store from being used.
    pub(crate) fn said(words: String) -> Trouble {
        Trouble { words }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

fn cure(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::NOSPC | Errno::DQUOT => "free space or inodes on its file system",
        Errno::ROFS => "mount its file system writable",
        Errno::ACCESS | Errno::PERM => "let the daemon's user read and write it",
        Errno::NOENT => "bring the store's directory back, or mount it; a new store is made only when a daemon starts",
        Errno::NOTDIR => "something that is no directory lies there: move it away and bring the store back",
        Errno::MFILE | Errno::NFILE => "raise the limit of open files (LimitNOFILE)",
        Errno::IO | Errno::STALE => "look at the disk or the mount (dmesg)",
        _ => return None,
    })
}
