use std::fmt;
use std::io::Read;
use std::path::Path;

use crate::key::{KEY_MAX, KeyError, open, unreadable};

/// Most bytes of a keychain's file.
const FILE_MAX: u64 = 64 * 1024;

/// Keys of TCP-AO (RFC 5925), at least one, the first being the one that is asked for; the others are taken as well, so that
/// two ends can go from one key to the next at different times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keychain(Vec<AoKey>);

/// A master key tuple.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AoKey {
    /// KeyID of what we send.
    pub(crate) send_id: u8,
    /// KeyID of what we take.
    pub(crate) recv_id: u8,
    pub(crate) algorithm: Algorithm,
    /// 1 to 80 bytes.
    pub(crate) secret: Vec<u8>,
}

/// MAC and key derivation (RFC 5926).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    HmacSha1,
    AesCmac,
    HmacSha256,
}

impl Algorithm {
    const ALL: [Algorithm; 3] = [Algorithm::HmacSha1, Algorithm::AesCmac, Algorithm::HmacSha256];

    fn word(self) -> &'static str {
        match self {
            Algorithm::HmacSha1 => "hmac-sha-1-96",
            Algorithm::AesCmac => "aes-128-cmac-96",
            Algorithm::HmacSha256 => "hmac-sha-256-128",
        }
    }

    /// As the kernel's crypto calls it.
    pub(crate) fn kernel(self) -> &'static str {
        match self {
            Algorithm::HmacSha1 => "hmac(sha1)",
            Algorithm::AesCmac => "cmac(aes128)",
            Algorithm::HmacSha256 => "hmac(sha256)",
        }
    }

    /// Bytes of the MAC in a segment.
    pub(crate) fn mac(self) -> u8 {
        match self {
            Algorithm::HmacSha1 | Algorithm::AesCmac => 12,
            Algorithm::HmacSha256 => 16,
        }
    }
}

impl Keychain {
    /// The keychain in a text: a key a line, `SEND-ID RECV-ID ALGORITHM SECRET`, the secret being all that follows. Lines
    /// that begin with `#` and empty ones say nothing.
    pub fn parse(text: &str) -> Result<Keychain, KeyError> {
        let mut keys: Vec<AoKey> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what: String| KeyError::Line { line: at + 1, what };
            let key = key(line).map_err(wrong)?;
            // Of one key only, else nobody knows which one a segment is signed with.
            if let Some(other) = keys.iter().find(|it| it.send_id == key.send_id || it.recv_id == key.recv_id) {
                let ids = (other.send_id, other.recv_id);
                return Err(wrong(format!("has an id of the key {}/{}: expected each id once", ids.0, ids.1)));
            }
            keys.push(key);
        }
        match keys.is_empty() {
            true => Err(KeyError::Line { line: 1, what: format!("there is no key: expected {EXPECTED}") }),
            false => Ok(Keychain(keys)),
        }
    }

    /// The keychain in a file. Warns when everybody may read the file.
    pub fn read(path: impl AsRef<Path>) -> Result<Keychain, KeyError> {
        let path = path.as_ref();
        let mut text = String::new();
        let read = open(path)?.take(FILE_MAX).read_to_string(&mut text);
        read.map_err(|error| unreadable(path, error.to_string()))?;
        Keychain::parse(&text).map_err(|error| KeyError::InFile { path: path.to_owned(), error: Box::new(error) })
    }

    /// Can connections go over from `before` to this one? A key's secret never changes under its ids (RFC 5925 section 3.1):
    /// the two ends could not tell the old one from the new.
    pub fn follows(&self, before: &Keychain) -> Result<(), KeyError> {
        for key in &self.0 {
            let ids = |it: &&AoKey| (it.send_id, it.recv_id) == (key.send_id, key.recv_id);
            if before.0.iter().find(ids).is_some_and(|it| it != key) {
                return Err(KeyError::Changed { send_id: key.send_id, recv_id: key.recv_id });
            }
        }
        Ok(())
    }

    pub(crate) fn keys(&self) -> &[AoKey] {
        &self.0
    }
}

/// A line of the file, in words.
const EXPECTED: &str = "`SEND-ID RECV-ID ALGORITHM SECRET` with ids of 0 to 255, an algorithm out of hmac-sha-1-96, \
                        aes-128-cmac-96 and hmac-sha-256-128, and a secret of 1 to 80 bytes";

/// Never repeats what is in the line: anything in it may be a secret.
fn key(line: &str) -> Result<AoKey, String> {
    let (send_id, rest) = word(line);
    let (recv_id, rest) = word(rest);
    let (name, secret) = word(rest);
    let id =
        |text: &str, which: &str| text.parse::<u8>().map_err(|_| format!("the {which} is no id: expected {EXPECTED}"));
    let (send_id, recv_id) = (id(send_id, "first word")?, id(recv_id, "second word")?);
    let algorithm = Algorithm::ALL.into_iter().find(|it| it.word().eq_ignore_ascii_case(name));
    let algorithm = algorithm.ok_or_else(|| format!("the third word is no algorithm: expected {EXPECTED}"))?;
    let secret = secret.trim_end_matches(['\r', '\n']).as_bytes().to_vec();
    match secret.len() {
        0 => Err(format!("the secret is missing: expected {EXPECTED}")),
        1..=KEY_MAX => Ok(AoKey { send_id, recv_id, algorithm, secret }),
        length => Err(format!("the secret has {length} bytes: expected 1 to {KEY_MAX}")),
    }
}

/// The first word, and what follows it.
fn word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (word, rest.trim_start_matches([' ', '\t']))
}

impl fmt::Debug for AoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {} ***", self.send_id, self.recv_id, self.algorithm.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checklist: 88
    #[test]
    fn a_line_is_a_key_and_the_first_one_is_preferred() {
        let text = "# comes into use on Monday\n2 12 hmac-sha-256-128 a b  \n\n1\t11  AES-128-CMAC-96   old\r\n";
        let chain = Keychain::parse(text).unwrap();
        let [new, old] = chain.keys() else { panic!("{chain:?}") };
        assert_eq!(
            (new.send_id, new.recv_id, new.algorithm, &new.secret[..]),
            (2, 12, Algorithm::HmacSha256, &b"a b  "[..])
        );
        assert_eq!(
            (old.send_id, old.recv_id, old.algorithm, &old.secret[..]),
            (1, 11, Algorithm::AesCmac, &b"old"[..])
        );
        assert_eq!(format!("{chain:?}"), "Keychain([2/12 hmac-sha-256-128 ***, 1/11 aes-128-cmac-96 ***])");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_without_a_secret() {
        let long = format!("1 1 hmac-sha-1-96 {}", "hunter2".repeat(12));
        let cases = [
            ("", "line 1: there is no key"),
            ("# nothing\n", "line 1: there is no key"),
            ("\nhunter2\n", "line 2: the first word is no id"),
            ("1 256 hmac-sha-1-96 hunter2", "line 1: the second word is no id"),
            ("1 1 hunter2", "line 1: the third word is no algorithm"),
            ("1 1 md5 hunter2", "line 1: the third word is no algorithm"),
            ("1 1 hmac-sha-1-96 ", "line 1: the secret is missing"),
            (&long, "line 1: the secret has 84 bytes: expected 1 to 80"),
            ("1 2 hmac-sha-1-96 hunter2\n1 3 hmac-sha-1-96 x", "line 2: has an id of the key 1/2"),
            ("1 2 hmac-sha-1-96 hunter2\n3 2 hmac-sha-1-96 x", "line 2: has an id of the key 1/2"),
        ];
        for (text, expected) in cases {
            let said = Keychain::parse(text).unwrap_err().to_string();
            assert!(said.starts_with(expected) && !said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn a_secret_does_not_change_under_its_ids() {
        let chain = |text: &str| Keychain::parse(text).unwrap();
        let old = chain("1 1 hmac-sha-1-96 old");
        assert_eq!(chain("2 2 hmac-sha-1-96 new\n1 1 hmac-sha-1-96 old").follows(&old), Ok(()));
        assert_eq!(chain("2 1 hmac-sha-1-96 new").follows(&old), Ok(()));
        let said = chain("1 1 hmac-sha-1-96 new").follows(&old).unwrap_err().to_string();
        assert!(said.contains("1/1") && said.contains("ids of its own"), "{said}");
    }
}
