//! Questions to a daemon's servers.

use std::io::{Read, Write};

use anyhow::{Context, Result, bail};

/// The body of what is at `path`.
pub(crate) fn get(mut stream: impl Read + Write, path: &str) -> Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") {
        bail!("{path}: {status}: {}", body.trim());
    }
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return Ok(body.to_owned());
    }
    whole(body).with_context(|| format!("{path}: chunks"))
}

/// Puts chunks together (RFC 9112 section 7.1).
fn whole(mut rest: &str) -> Result<String> {
    let mut all = String::new();
    loop {
        let (length, behind) = rest.split_once("\r\n").context("a chunk without length")?;
        let length = usize::from_str_radix(length.split(';').next().unwrap_or_default().trim(), 16)?;
        if length == 0 {
            return Ok(all);
        }
        all.push_str(behind.get(..length).context("a chunk is cut off")?);
        rest = behind.get(length..).and_then(|rest| rest.strip_prefix("\r\n")).context("a chunk has no end")?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// Reads the one, forgets what is written.
    struct Peer(Cursor<&'static str>);

    impl Read for Peer {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Peer {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            Ok(octets.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bodies_come_whole_and_refusals_are_errors() {
        let get = |text| get(Peer(Cursor::new(text)), "/x").map_err(|error| format!("{error:#}"));
        assert_eq!(get("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab").as_deref(), Ok("ab"));
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x=y\r\ncde\r\n0\r\n\r\n";
        assert_eq!(get(chunks).as_deref(), Ok("abcde"));
        assert!(get("HTTP/1.1 404 Not Found\r\n\r\nno such page").unwrap_err().contains("no such page"));
        for cut in ["", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nab"] {
            assert!(get(cut).is_err(), "{cut}");
        }
    }
}
