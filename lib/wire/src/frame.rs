//! Where a message ends: the header of RFC 4271 section 4.1.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{DecodeError, EncodeError, Notification, code};

/// Longest message without RFC 8654, in octets (RFC 4271 section 4.1).
pub const MAX_MESSAGE: usize = 4096;
/// Longest message with RFC 8654, in octets.
pub const MAX_EXTENDED_MESSAGE: usize = 65535;
/// Header: 16 octets marker, 2 length, 1 type.
pub const HEADER: usize = 19;

/// Type codes of messages (RFC 4271 section 4.1, RFC 2918).
pub(crate) mod kind {
    pub(crate) const OPEN: u8 = 1;
    pub(crate) const UPDATE: u8 = 2;
    pub(crate) const NOTIFICATION: u8 = 3;
    pub(crate) const KEEPALIVE: u8 = 4;
    pub(crate) const ROUTE_REFRESH: u8 = 5;
}

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
    let Some([.., high, low, kind]) = head.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let length = u16::from_be_bytes([*high, *low]);
    if usize::from(length) < HEADER || usize::from(length) > max {
        return Err(bad_length(length, format!("message of {length} octets, {HEADER} to {max} are legal")));
    }
    let (name, least, most) = match *kind {
        kind::OPEN => ("OPEN", 29, MAX_MESSAGE as u16),
        kind::UPDATE => ("UPDATE", 23, u16::MAX),
        kind::NOTIFICATION => ("NOTIFICATION", 21, u16::MAX),
        kind::KEEPALIVE => ("KEEPALIVE", 19, 19),
        // ROUTE-REFRESH: RFC 7313 section 5 wants the whole message in the NOTIFICATION, so decoding judges it.
        kind::ROUTE_REFRESH => ("ROUTE-REFRESH", 19, u16::MAX),
        other => {
            return Err(DecodeError {
                notification: Notification::new(code::MESSAGE_HEADER, 3, Bytes::copy_from_slice(&[other])),
                what: format!("message type {other}, of which we know nothing"),
            });
        }
    };
    if (least..=most).contains(&length) {
        return Ok(Some(usize::from(length)));
    }
    Err(bad_length(length, format!("{name} of {length} octets")))
}

/// The header of a message that is to have a body of `body` octets, with room for it.
pub(crate) fn begin(kind: u8, body: usize, max: usize) -> Result<BytesMut, EncodeError> {
    let size = HEADER + body;
    let max = max.min(MAX_EXTENDED_MESSAGE);
    let length = u16::try_from(size).ok().filter(|_| size <= max).ok_or(EncodeError::TooLong { size, max })?;
    let mut octets = BytesMut::with_capacity(size);
    octets.put_slice(&[0xff; 16]);
    octets.put_u16(length);
    octets.put_u8(kind);
    Ok(octets)
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

    /// Checklist: 12
    #[test]
    fn more_is_needed_until_the_header_is_there() {
        let head = header(19, 4);
        for cut in 0..19 {
            assert_eq!(frame_length(&head[..cut], MAX_MESSAGE), Ok(None));
        }
        assert_eq!(frame_length(&head, MAX_MESSAGE), Ok(Some(19)));
        assert_eq!(frame_length(&header(4096, 2), MAX_MESSAGE), Ok(Some(4096)), "the body need not be there");
    }

    /// Checklist: 1
    #[test]
    fn a_wrong_marker_is_refused_at_its_first_octet() {
        assert_eq!(refused(&[0x16], MAX_MESSAGE), (1, 1, vec![]));
        let mut head = header(19, 4);
        head[15] = 0xfe;
        assert_eq!(refused(&head, MAX_MESSAGE), (1, 1, vec![]));
    }

    /// Checklist: 1
    #[test]
    fn each_type_has_its_lengths() {
        for (kind, length) in [(1, 28), (2, 22), (3, 20), (4, 20), (2, 18), (2, 0), (2, 4097), (4, 4097)] {
            assert_eq!(refused(&header(length, kind), MAX_MESSAGE), (1, 2, length.to_be_bytes().to_vec()), "{kind}");
        }
        for (kind, length) in [(1, 29), (2, 23), (3, 21), (4, 19), (5, 19), (5, 23), (1, 4096)] {
            assert_eq!(frame_length(&header(length, kind), MAX_MESSAGE), Ok(Some(usize::from(length))), "{kind}");
        }
    }

    /// Checklist: 77
    #[test]
    fn extended_messages_are_for_all_but_open_and_keepalive() {
        assert_eq!(frame_length(&header(65535, 2), MAX_EXTENDED_MESSAGE), Ok(Some(65535)));
        assert_eq!(frame_length(&header(65535, 3), usize::MAX), Ok(Some(65535)));
        assert_eq!(refused(&header(4097, 1), MAX_EXTENDED_MESSAGE).0, 1);
        assert_eq!(refused(&header(4097, 4), MAX_EXTENDED_MESSAGE).0, 1);
    }

    /// Checklist: 1
    #[test]
    fn unknown_types_are_named() {
        assert_eq!(refused(&header(19, 0), MAX_MESSAGE), (1, 3, vec![0]));
        assert_eq!(refused(&header(19, 6), MAX_MESSAGE), (1, 3, vec![6]));
        assert_eq!(refused(&header(19, 255), MAX_MESSAGE), (1, 3, vec![255]));
    }
}
