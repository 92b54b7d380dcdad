use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Longest key of TCP MD5 that the kernel takes, in bytes (`TCP_MD5SIG_MAXKEYLEN`).
pub const KEY_MAX: usize = 80;

/// Key of TCP MD5 (RFC 2385): 1 to 80 bytes. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

impl Key {
    /// A key of just these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Key, KeyError> {
        let bytes = bytes.into();
        match bytes.len() {
            0 => Err(KeyError::Empty),
            1..=KEY_MAX => Ok(Key(bytes)),
            length => Err(KeyError::TooLong(length)),
        }
    }

    /// The key in a file, without the newline at its end. Warns when everybody may read the file.
    pub fn read(path: impl AsRef<Path>) -> Result<Key, KeyError> {
        let path = path.as_ref();
        let mut bytes = Vec::new();
        // A key file is small; whatever is behind this is an error anyway.
        open(path)?.take(4096).read_to_end(&mut bytes).map_err(|error| unreadable(path, error.to_string()))?;
        while matches!(bytes.last(), Some(b'\n' | b'\r')) {
            bytes.pop();
        }
        Key::new(bytes).map_err(|error| KeyError::InFile { path: path.to_owned(), error: Box::new(error) })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Opens a file that holds keys. Warns when everybody may read it.
pub(crate) fn open(path: &Path) -> Result<File, KeyError> {
    let io = |error: std::io::Error| unreadable(path, error.to_string());
    // Before opening: the opening of a pipe would wait for a writer.
    let meta = std::fs::metadata(path).map_err(io)?;
    if !meta.is_file() {
        return Err(unreadable(path, "it is not a regular file".to_owned()));
    }
    if meta.permissions().mode() & 0o004 != 0 {
        tracing::warn!(path = %path.display(), "everybody may read this key file: chmod 0600 it");
    }
    File::open(path).map_err(io)
}

pub(crate) fn unreadable(path: &Path, what: String) -> KeyError {
    KeyError::Unreadable { path: path.to_owned(), what }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why there is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No bytes.
    #[error("the key is empty: expected 1 to {KEY_MAX} bytes")]
    Empty,
    /// More bytes than the kernel takes.
    #[error("the key has {0} bytes or more: expected 1 to {KEY_MAX}")]
    TooLong(usize),
    /// A line of a keychain is no key.
    #[error("line {line}: {what}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it, without a word of it.
        what: String,
    },
    /// A key of a keychain has another secret than before under the same ids.
    #[error(
        "key {send_id}/{recv_id} has another secret or algorithm than before: give the new key ids of its own, put it first, and \
         take the old one out once both ends have the new one (RFC 5925 section 3.1)"
    )]
    Changed {
        /// SendID.
        send_id: u8,
        /// RecvID.
        recv_id: u8,
    },
    /// The file cannot be read.
    #[error("key file {}: {what}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Cause.
        what: String,
    },
    /// The file can be read, but what is in it is no key.
    #[error("key file {}: {error}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with the key.
        error: Box<KeyError>,
    },
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn is_read_without_its_newline_and_never_printed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for (text, key) in [("secret\n", "secret"), ("secret\r\n", "secret"), ("secret", "secret"), (" a b ", " a b ")]
        {
            fs::write(&path, text).unwrap();
            let read = Key::read(&path).unwrap();
            assert_eq!(read.bytes(), key.as_bytes());
            assert_eq!(format!("{read:?}"), "***");
        }
    }

    #[test]
    fn is_refused_with_the_path_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let words = |path: &Path| Key::read(path).unwrap_err().to_string();
        assert!(words(&path).contains("No such file"), "{}", words(&path));
        for (text, expected) in [("", "empty"), ("\n", "empty"), (&*"x".repeat(81), "81 bytes")] {
            fs::write(&path, text).unwrap();
            assert!(words(&path).contains(expected), "{}", words(&path));
            assert!(words(&path).contains(path.to_str().unwrap()), "{}", words(&path));
            assert!(!words(&path).contains("xxx"));
        }
        assert!(words(dir.path()).contains("not a regular file"));
        fs::write(&path, "x".repeat(80)).unwrap();
        assert!(Key::read(&path).is_ok());
    }
}
