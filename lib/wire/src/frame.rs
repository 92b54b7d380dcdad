//! Where a message ends: the header of RFC 4271 section 4.1.

use bytes::Bytes;
use rustbgpd_wire::peek_message_length;

use crate::{DecodeError, Notification, code};

/// Longest message without RFC 8654, in octets (RFC 4271 section 4.1).
pub const MAX_MESSAGE: usize = 4096;
/// Longest message with RFC 8654, in octets.
pub const MAX_EXTENDED_MESSAGE: usize = 65535;
/// Header: 16 octets marker, 2 length, 1 type.
pub const HEADER: usize = 19;

/// Length of the message at the start of `head`, header included: 19 to `max`. `None` when more octets are needed to tell.
///
/// Marker, length, type, and the least length of the type are judged as soon as they are there, so that nobody waits or
/// makes room for a body that would be refused. A marker that is wrong in its first octets (a TLS client, a port
/// scanner) is refused before the header is complete.
///
/// # Errors
/// 1/1 for the marker, 1/2 for the length, 1/3 for the type (RFC 4271 section 6.1).
pub fn frame_length(head: &[u8], max: usize) -> Result<Option<usize>, DecodeError> {
    if head.iter().take(16).any(|octet| *octet != 0xff) {
        return Err(DecodeError {
            notification: Notification::new(code::MESSAGE_HEADER, 1, Bytes::new()),
            what: "the marker is not all ones: this is no BGP-4 peer".to_owned(),
        });
    }
    let max = u16::try_from(max).unwrap_or(u16::MAX);
    let Some(length) = peek_message_length(head, max).map_err(|error| DecodeError::of(&error, &[]))? else {
        return Ok(None);
    };
    let (name, least, most) = match head.get(18) {
        Some(1) => ("OPEN", 29, MAX_MESSAGE as u16),
        Some(2) => ("UPDATE", 23, u16::MAX),
        Some(3) => ("NOTIFICATION", 21, u16::MAX),
        Some(4) => ("KEEPALIVE", 19, 19),
        // ROUTE-REFRESH: RFC 7313 section 5 wants the whole message in the NOTIFICATION, so decoding judges it.
        _ => ("ROUTE-REFRESH", 19, u16::MAX),
    };
    if (least..=most).contains(&length) {
        return Ok(Some(usize::from(length)));
    }
    Err(bad_length(length, format!("{name} of {length} octets")))
}

/// 1/2 with the refused length as data.
pub(crate) fn bad_length(length: u16, what: String) -> DecodeError {
    let data = Bytes::copy_from_slice(&length.to_be_bytes());
    DecodeError { notification: Notification::new(code::MESSAGE_HEADER, 2, data), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(length: u16, kind: u8) -> Vec<u8> {
        let mut head = vec![0xff; 16];
        head.extend_from_slice(&length.to_be_bytes());
        head.push(kind);
        head
    }

    fn refused(head: &[u8], max: usize) -> (u8, u8, Vec<u8>) {
        let notification = frame_length(head, max).unwrap_err().notification;
        (notification.code, notification.subcode, notification.data.to_vec())
    }

    #[test]
    fn more_is_needed_until_the_header_is_there() {
        let head = header(19, 4);
        for cut in 0..19 {
            assert_eq!(frame_length(&head[..cut], MAX_MESSAGE), Ok(None));
        }
        assert_eq!(frame_length(&head, MAX_MESSAGE), Ok(Some(19)));
        assert_eq!(frame_length(&header(4096, 2), MAX_MESSAGE), Ok(Some(4096)), "the body need not be there");
    }

    #[test]
    fn a_wrong_marker_is_refused_at_its_first_octet() {
        assert_eq!(refused(&[0x16], MAX_MESSAGE), (1, 1, vec![]));
        let mut head = header(19, 4);
        head[15] = 0xfe;
        assert_eq!(refused(&head, MAX_MESSAGE), (1, 1, vec![]));
    }

    #[test]
    fn each_type_has_its_lengths() {
        for (kind, length) in [(1, 28), (2, 22), (3, 20), (4, 20), (2, 18), (2, 0), (2, 4097), (4, 4097)] {
            assert_eq!(refused(&header(length, kind), MAX_MESSAGE), (1, 2, length.to_be_bytes().to_vec()), "{kind}");
        }
        for (kind, length) in [(1, 29), (2, 23), (3, 21), (4, 19), (5, 19), (5, 23), (1, 4096)] {
            assert_eq!(frame_length(&header(length, kind), MAX_MESSAGE), Ok(Some(usize::from(length))), "{kind}");
        }
    }

    #[test]
    fn extended_messages_are_for_all_but_open_and_keepalive() {
        assert_eq!(frame_length(&header(65535, 2), MAX_EXTENDED_MESSAGE), Ok(Some(65535)));
        assert_eq!(frame_length(&header(65535, 3), usize::MAX), Ok(Some(65535)));
        assert_eq!(refused(&header(4097, 1), MAX_EXTENDED_MESSAGE).0, 1);
        assert_eq!(refused(&header(4097, 4), MAX_EXTENDED_MESSAGE).0, 1);
    }

    #[test]
    fn unknown_types_are_named() {
        assert_eq!(refused(&header(19, 0), MAX_MESSAGE), (1, 3, vec![0]));
        assert_eq!(refused(&header(19, 6), MAX_MESSAGE), (1, 3, vec![6]));
        assert_eq!(refused(&header(19, 255), MAX_MESSAGE), (1, 3, vec![255]));
    }
}
