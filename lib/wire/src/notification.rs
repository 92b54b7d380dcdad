//! NOTIFICATION (RFC 4271 section 4.5): why a session ends.

use std::fmt::Write;

use bytes::{BufMut, Bytes, BytesMut};
use model::Family;

/// Error codes.
pub mod code {
    /// Message header error (RFC 4271).
    pub const MESSAGE_HEADER: u8 = 1;
    /// OPEN message error (RFC 4271).
    pub const OPEN: u8 = 2;
    /// UPDATE message error (RFC 4271).
    pub const UPDATE: u8 = 3;
    /// Hold timer expired (RFC 4271).
    pub const HOLD_TIMER: u8 = 4;
    /// Finite state machine error (RFC 4271).
    pub const FSM: u8 = 5;
    /// Cease (RFC 4486).
    pub const CEASE: u8 = 6;
    /// ROUTE-REFRESH message error (RFC 7313).
    pub const ROUTE_REFRESH: u8 = 7;
    /// Send hold timer expired (RFC 9687).
    pub const SEND_HOLD_TIMER: u8 = 8;
}

/// Subcodes of [`code::OPEN`].
pub mod open {
    /// Version is not 4; data is the version we speak.
    pub const UNSUPPORTED_VERSION: u8 = 1;
    /// Not the AS number that was configured.
    pub const BAD_PEER_AS: u8 = 2;
    /// BGP Identifier is 0, or ours inside our AS (RFC 6286).
    pub const BAD_IDENTIFIER: u8 = 3;
    /// Optional parameter other than capabilities.
    pub const UNSUPPORTED_PARAMETER: u8 = 4;
    /// Hold time of 1 or 2 seconds, or shorter than we take.
    pub const UNACCEPTABLE_HOLD_TIME: u8 = 6;
    /// A capability that we insist on is missing; data is that capability (RFC 5492).
    pub const UNSUPPORTED_CAPABILITY: u8 = 7;
}

/// Subcodes of [`code::FSM`] (RFC 6608): the state in which the message was not expected.
pub mod fsm {
    /// Any other state.
    pub const UNSPECIFIC: u8 = 0;
    /// OpenSent.
    pub const OPEN_SENT: u8 = 1;
    /// OpenConfirm.
    pub const OPEN_CONFIRM: u8 = 2;
    /// Established.
    pub const ESTABLISHED: u8 = 3;
}

/// Subcodes of [`code::CEASE`] (RFC 4486, 8538, 9384).
pub mod cease {
    /// More prefixes than allowed; data is family and limit.
    pub const MAX_PREFIXES: u8 = 1;
    /// The operator shuts the session down; data is a text (RFC 9003).
    pub const SHUTDOWN: u8 = 2;
    /// The peer is configured no more.
    pub const DECONFIGURED: u8 = 3;
    /// The operator resets the session; data is a text (RFC 9003).
    pub const RESET: u8 = 4;
    /// The connection is not wanted.
    pub const REJECTED: u8 = 5;
    /// The configuration of the session has changed.
    pub const OTHER_CHANGE: u8 = 6;
    /// This connection lost against another one of the same peer.
    pub const COLLISION: u8 = 7;
    /// Out of resources.
    pub const OUT_OF_RESOURCES: u8 = 8;
    /// Graceful restart does not apply; data is the NOTIFICATION inside (RFC 8538).
    pub const HARD_RESET: u8 = 9;
    /// BFD says that the path is down (RFC 9384).
    pub const BFD_DOWN: u8 = 10;
}

/// A NOTIFICATION, ours or the peer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Error code, see [`code`].
    pub code: u8,
    /// Subcode; what it means depends on the code.
    pub subcode: u8,
    /// Diagnostic data; what it means depends on both.
    pub data: Bytes,
}

impl Notification {
    /// Any.
    pub const fn new(code: u8, subcode: u8, data: Bytes) -> Notification {
        Notification { code, subcode, data }
    }

    /// Cease with a subcode of [`cease`]. `text` goes with [`cease::SHUTDOWN`] and [`cease::RESET`], the only two that
    /// have room for it (RFC 9003); it is cut between characters at 255 octets, and an empty one is left out.
    pub fn cease(subcode: u8, text: &str) -> Notification {
        let mut data = BytesMut::new();
        if matches!(subcode, cease::SHUTDOWN | cease::RESET) && !text.is_empty() {
            let end = text.floor_char_boundary(text.len().min(MOST_TEXT));
            let cut = text.get(..end).unwrap_or_default();
            // No more than 255.
            data.put_u8(cut.len() as u8);
            data.put_slice(cut.as_bytes());
        }
        Notification::new(code::CEASE, subcode, data.freeze())
    }

    /// Cease that graceful restart does not apply to, for the reason `inside` (RFC 8538 section 3.1). What does not fit
    /// a message of 4096 octets is cut.
    pub fn hard_reset(inside: &Notification) -> Notification {
        let room = crate::MAX_MESSAGE - crate::HEADER - 4;
        let mut data = BytesMut::with_capacity(2 + inside.data.len().min(room));
        data.put_slice(&[inside.code, inside.subcode]);
        data.put_slice(&inside.data[..inside.data.len().min(room)]);
        Notification::new(code::CEASE, cease::HARD_RESET, data.freeze())
    }

    /// Cease for more prefixes of `family` than `limit` (RFC 4486 section 4).
    pub fn max_prefixes(family: Family, limit: u32) -> Notification {
        let mut data = BytesMut::with_capacity(7);
        data.put_u16(match family {
            Family::V4 => 1,
            Family::V6 => 2,
        });
        data.put_u8(1);
        data.put_u32(limit);
        Notification::new(code::CEASE, cease::MAX_PREFIXES, data.freeze())
    }

    /// Nothing was heard of the peer for the hold time.
    pub const fn hold_timer_expired() -> Notification {
        Notification::new(code::HOLD_TIMER, 0, Bytes::new())
    }

    /// The peer has taken nothing from us for the send hold time (RFC 9687); mostly it cannot be delivered.
    pub const fn send_hold_timer_expired() -> Notification {
        Notification::new(code::SEND_HOLD_TIMER, 0, Bytes::new())
    }

    /// A message that the state does not expect, with a subcode of [`fsm`].
    pub const fn fsm_error(subcode: u8) -> Notification {
        Notification::new(code::FSM, subcode, Bytes::new())
    }

    /// An OPEN that we refuse, with a subcode of [`open`] and no data.
    pub const fn open_error(subcode: u8) -> Notification {
        Notification::new(code::OPEN, subcode, Bytes::new())
    }

    /// The OPEN lacks capabilities that we insist on: each as code, length, value (RFC 5492 section 5).
    pub fn unsupported_capability(missing: Bytes) -> Notification {
        Notification::new(code::OPEN, open::UNSUPPORTED_CAPABILITY, missing)
    }

    /// The text that the operator of the other side gave (RFC 9003), also the one inside a hard reset, made fit for one
    /// line of a log: control characters and what is not UTF-8 have become `?`. `None` if there is none, or if its length
    /// is not that of the data.
    pub fn text(&self) -> Option<String> {
        let (length, text) = self.text_octets()?.split_first()?;
        if usize::from(*length) != text.len() || text.is_empty() {
            return None;
        }
        let fit = |c| if c == char::REPLACEMENT_CHARACTER || !is_printable(c) { '?' } else { c };
        Some(String::from_utf8_lossy(text).chars().map(fit).collect())
    }

    /// The field of the text, with its length.
    fn text_octets(&self) -> Option<&[u8]> {
        match (self.code, self.subcode, &self.data[..]) {
            (code::CEASE, cease::SHUTDOWN | cease::RESET, field) => Some(field),
            // Never two deep.
            (code::CEASE, cease::HARD_RESET, [code::CEASE, cease::SHUTDOWN | cease::RESET, field @ ..]) => Some(field),
            _ => None,
        }
    }

    /// Code, subcode and text in words: `Cease: administrative shutdown (6/2): "moving racks"`.
    pub fn words(&self) -> String {
        let (class, detail) = self.meaning();
        let mut words = class.to_owned();
        if !detail.is_empty() {
            let _ = write!(words, ": {detail}");
        }
        let _ = write!(words, " ({}/{})", self.code, self.subcode);
        if let (code::CEASE, cease::HARD_RESET, [inner, subcode, ..]) = (self.code, self.subcode, &self.data[..]) {
            // What is inside a hard reset is named by its numbers.
            let _ = write!(words, ": {inner}/{subcode} inside");
        }
        if let Some(text) = self.text() {
            let _ = write!(words, ": \"{text}\"");
        } else if let Some((length, text)) = self.text_octets().and_then(<[u8]>::split_first)
            && usize::from(*length) != text.len()
        {
            let _ = write!(words, ": a text whose length is wrong ({length} of {})", text.len());
        } else if let Some(limit) = self.limit() {
            let _ = write!(words, ": limit {limit}");
        }
        words
    }

    /// The limit in a Cease for too many prefixes.
    fn limit(&self) -> Option<u32> {
        if self.code != code::CEASE || self.subcode != cease::MAX_PREFIXES {
            return None;
        }
        let limit: [u8; 4] = self.data.get(3..7)?.try_into().ok()?;
        (self.data.len() == 7).then_some(u32::from_be_bytes(limit))
    }

    /// Names of code and subcode.
    fn meaning(&self) -> (&'static str, &'static str) {
        let class = match self.code {
            code::MESSAGE_HEADER => "Message header error",
            code::OPEN => "OPEN message error",
            code::UPDATE => "UPDATE message error",
            code::HOLD_TIMER => "Hold timer expired",
            code::FSM => "Finite state machine error",
            code::CEASE => "Cease",
            code::ROUTE_REFRESH => "ROUTE-REFRESH message error",
            code::SEND_HOLD_TIMER => "Send hold timer expired",
            _ => "Unknown error",
        };
        let detail = match (self.code, self.subcode) {
            (code::MESSAGE_HEADER, 1) => "connection not synchronized",
            (code::MESSAGE_HEADER, 2) => "bad message length",
            (code::MESSAGE_HEADER, 3) => "bad message type",
            (code::OPEN, open::UNSUPPORTED_VERSION) => "unsupported version number",
            (code::OPEN, open::BAD_PEER_AS) => "bad peer AS",
            (code::OPEN, open::BAD_IDENTIFIER) => "bad BGP identifier",
            (code::OPEN, open::UNSUPPORTED_PARAMETER) => "unsupported optional parameter",
            (code::OPEN, open::UNACCEPTABLE_HOLD_TIME) => "unacceptable hold time",
            (code::OPEN, open::UNSUPPORTED_CAPABILITY) => "unsupported capability",
            (code::OPEN, 11) => "role mismatch",
            (code::UPDATE, 1) => "malformed attribute list",
            (code::UPDATE, 2) => "unrecognized well-known attribute",
            (code::UPDATE, 3) => "missing well-known attribute",
            (code::UPDATE, 4) => "attribute flags error",
            (code::UPDATE, 5) => "attribute length error",
            (code::UPDATE, 6) => "invalid ORIGIN",
            (code::UPDATE, 8) => "invalid NEXT_HOP",
            (code::UPDATE, 9) => "optional attribute error",
            (code::UPDATE, 10) => "invalid network field",
            (code::UPDATE, 11) => "malformed AS_PATH",
            (code::FSM, fsm::OPEN_SENT) => "unexpected message in OpenSent",
            (code::FSM, fsm::OPEN_CONFIRM) => "unexpected message in OpenConfirm",
            (code::FSM, fsm::ESTABLISHED) => "unexpected message in Established",
            (code::CEASE, cease::MAX_PREFIXES) => "maximum number of prefixes reached",
            (code::CEASE, cease::SHUTDOWN) => "administrative shutdown",
            (code::CEASE, cease::DECONFIGURED) => "peer deconfigured",
            (code::CEASE, cease::RESET) => "administrative reset",
            (code::CEASE, cease::REJECTED) => "connection rejected",
            (code::CEASE, cease::OTHER_CHANGE) => "other configuration change",
            (code::CEASE, cease::COLLISION) => "connection collision resolution",
            (code::CEASE, cease::OUT_OF_RESOURCES) => "out of resources",
            (code::CEASE, cease::HARD_RESET) => "hard reset",
            (code::CEASE, cease::BFD_DOWN) => "BFD down",
            (code::ROUTE_REFRESH, 1) => "invalid message length",
            (_, 0) => "",
            _ => "unknown subcode",
        };
        (class, detail)
    }
}

/// Longest text of an operator, in octets (RFC 9003 section 2).
const MOST_TEXT: usize = 255;

/// Fit for one line of a log: no control characters, no line separators, nothing that turns the writing direction.
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: u8, subcode: u8, data: &[u8]) -> Notification {
        Notification::new(code, subcode, Bytes::copy_from_slice(data))
    }

    #[test]
    fn words_name_code_subcode_and_text() {
        for (notification, words) in [
            (
                Notification::cease(cease::SHUTDOWN, "moving racks"),
                "Cease: administrative shutdown (6/2): \"moving racks\"",
            ),
            (Notification::cease(cease::RESET, ""), "Cease: administrative reset (6/4)"),
            (Notification::cease(cease::DECONFIGURED, "no room for this"), "Cease: peer deconfigured (6/3)"),
            (Notification::hold_timer_expired(), "Hold timer expired (4/0)"),
            (Notification::send_hold_timer_expired(), "Send hold timer expired (8/0)"),
            (
                Notification::fsm_error(fsm::OPEN_SENT),
                "Finite state machine error: unexpected message in OpenSent (5/1)",
            ),
            (Notification::open_error(open::BAD_PEER_AS), "OPEN message error: bad peer AS (2/2)"),
            (
                Notification::max_prefixes(Family::V6, 1000),
                "Cease: maximum number of prefixes reached (6/1): limit 1000",
            ),
            (of(6, 9, &[6, 2, 0]), "Cease: hard reset (6/9): 6/2 inside"),
            (of(6, 9, &[6]), "Cease: hard reset (6/9)"),
            (of(99, 7, b"data"), "Unknown error: unknown subcode (99/7)"),
            (of(3, 0, &[]), "UPDATE message error (3/0)"),
        ] {
            assert_eq!(notification.words(), words);
        }
        assert_eq!(Notification::max_prefixes(Family::V6, 1000).data[..], [0, 2, 1, 0, 0, 3, 0xe8]);
    }

    /// Checklist: 78
    #[test]
    fn a_text_is_one_safe_line_or_none() {
        let exact = "x".repeat(255);
        let sent = Notification::cease(cease::SHUTDOWN, &exact);
        assert_eq!((sent.data.len(), sent.data[0], sent.text()), (256, 255, Some(exact.clone())));
        let sent = Notification::cease(cease::RESET, &(exact + "y"));
        assert_eq!((sent.data.len(), sent.data[0]), (256, 255), "256 octets are cut at 255");
        let wide = "€".repeat(100);
        assert_eq!(Notification::cease(cease::SHUTDOWN, &wide).text(), Some("€".repeat(85)), "between characters");
        let mixed = "x".to_owned() + &wide;
        assert_eq!(Notification::cease(cease::SHUTDOWN, &mixed).data.len(), 1 + 1 + 84 * 3);

        let received = [&[255][..], "y".repeat(255).as_bytes()].concat();
        assert_eq!(of(6, 2, &received).text().map(|t| t.len()), Some(255));
        assert_eq!(of(6, 2, b"\x06a\x1b[31m").text().as_deref(), Some("a?[31m"));
        assert_eq!(of(6, 4, b"\x03a\nb").text().as_deref(), Some("a?b"));
        assert_eq!(of(6, 4, b"\x03a\0b").text().as_deref(), Some("a?b"));
        assert_eq!(of(6, 2, "\u{5}\u{202e}ab".as_bytes()).text().as_deref(), Some("?ab"));
        assert_eq!(of(6, 2, b"\x03a\xffb").text().as_deref(), Some("a?b"), "no UTF-8");
        assert_eq!(of(6, 2, b"\x02\xe2\x82").text().as_deref(), Some("?"), "a character that is cut");
        // 256 octets behind a length of 255, and lengths that are not that of the text: never an octet too many is read.
        let long = [&[255][..], "y".repeat(256).as_bytes()].concat();
        for broken in [&long[..], b"\x05abc", b"\x02abc", b"\xff", b"\0", b""] {
            let notification = of(6, 2, broken);
            assert_eq!(notification.text(), None, "{broken:?}");
            assert_eq!(notification.words().contains("length is wrong"), broken.len() > 1 || broken == b"\xff");
        }
        assert_eq!(of(6, 3, b"\x01a").text(), None, "6/3 has no text");
    }

    /// Checklist: 80
    #[test]
    fn a_hard_reset_tells_what_is_inside() {
        let hard = Notification::hard_reset(&Notification::cease(cease::SHUTDOWN, "new kernel"));
        assert_eq!(hard.data[..3], [6, 2, 10]);
        assert_eq!(hard.words(), "Cease: hard reset (6/9): 6/2 inside: \"new kernel\"");
        let twice = Notification::hard_reset(&hard);
        assert_eq!((twice.text(), twice.words().as_str()), (None, "Cease: hard reset (6/9): 6/9 inside"));
        let large = Notification::hard_reset(&of(6, 2, &[b'x'; 5000]));
        assert_eq!(large.data.len(), crate::MAX_MESSAGE - crate::HEADER - 2);
    }
}
