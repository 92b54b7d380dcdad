//! From octets to messages.

use bytes::Bytes;
use model::{Asn, Family};
use rustbgpd_wire::{Afi, NotificationCode, OpenMessage, Safi};

mod attribute_list;
mod update;

pub use update::Decoder;

use crate::frame::bad_length;
use crate::{Capability, DecodeError, Message, Negotiated, Notification, Open, RouteRefresh, code, frame_length};

/// Decodes one whole message, as long as [`frame_length`] said.
///
/// # Errors
/// Every error ends the session with the NOTIFICATION in it; what RFC 7606 handles more gently is in
/// [`Update::errors`](crate::Update::errors) instead. A NOTIFICATION that does not parse cannot be answered with one:
/// close.
pub fn decode(message: &[u8], negotiated: &Negotiated) -> Result<Message, DecodeError> {
    Decoder::forgetful().decode(message, negotiated)
}

/// OPEN, NOTIFICATION, KEEPALIVE and ROUTE-REFRESH; UPDATE is given to `update` as its raw sections.
fn decode_with(
    message: &[u8],
    negotiated: &Negotiated,
    update: impl FnOnce(&rustbgpd_wire::UpdateMessage) -> Result<crate::Update, DecodeError>,
) -> Result<Message, DecodeError> {
    if frame_length(message, negotiated.max_message)? != Some(message.len()) {
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
        return Err(bad_length(length, format!("{length} octets are not one whole message")));
    }
    let max = u16::try_from(negotiated.max_message).unwrap_or(u16::MAX);
    if message.get(18) == Some(&code_of::ROUTE_REFRESH) {
        return decode_route_refresh(message).map(Message::RouteRefresh);
    }
    let decoded = rustbgpd_wire::decode_message(&mut Bytes::copy_from_slice(message), max)
        .map_err(|error| DecodeError::of(&error, message))?;
    match decoded {
        rustbgpd_wire::Message::Open(open) => Ok(Message::Open(open_of(&open)?)),
        rustbgpd_wire::Message::Update(raw) => update(&raw).map(Message::Update),
        rustbgpd_wire::Message::Notification(n) => {
            Ok(Message::Notification(Notification::new(n.code.as_u8(), n.subcode, Bytes::copy_from_slice(&n.data))))
        }
        rustbgpd_wire::Message::Keepalive => Ok(Message::Keepalive),
        other => Err(DecodeError {
            notification: Notification::new(
                code::MESSAGE_HEADER,
                3,
                Bytes::copy_from_slice(message.get(18..19).unwrap_or_default()),
            ),
            what: format!("message type {:?}", other.message_type()),
        }),
    }
}

/// Type codes of messages.
mod code_of {
    pub(super) const ROUTE_REFRESH: u8 = 5;
}

/// Four octets of body, no more: the filters of RFC 5291 are never offered. Else 7/1 with the message as data
/// (RFC 7313 section 5).
fn decode_route_refresh(message: &[u8]) -> Result<RouteRefresh, DecodeError> {
    let [afi_high, afi_low, subtype, safi] = *message.get(19..).unwrap_or_default() else {
        // The data has to fit our NOTIFICATION.
        let data = Bytes::copy_from_slice(&message[..message.len().min(crate::MAX_MESSAGE - 21)]);
        return Err(DecodeError {
            notification: Notification::new(code::ROUTE_REFRESH, 1, data),
            what: format!("ROUTE-REFRESH of {} octets, expected 23", message.len()),
        });
    };
    Ok(RouteRefresh { family: family_of_codes(u16::from_be_bytes([afi_high, afi_low]), safi), subtype })
}

fn open_of(open: &OpenMessage) -> Result<Open, DecodeError> {
    let capabilities: Vec<Capability> = open.capabilities.iter().map(capability_of).collect::<Result<_, _>>()?;
    let four = capabilities.iter().find_map(|c| match c {
        Capability::FourOctetAs(asn) => Some(*asn),
        _ => None,
    });
    Ok(Open {
        asn: Asn(four.unwrap_or(u32::from(open.my_as))),
        hold_time: open.hold_time,
        router_id: open.bgp_identifier,
        capabilities,
    })
}

fn capability_of(capability: &rustbgpd_wire::Capability) -> Result<Capability, DecodeError> {
    use rustbgpd_wire::Capability as Codec;
    let other = || {
        let mut octets = Vec::with_capacity(capability.encoded_len());
        capability.encode(&mut octets).map_err(|error| DecodeError {
            notification: Notification::open_error(0),
            what: format!("capability {}: {error}", capability.code()),
        })?;
        let value = Bytes::copy_from_slice(octets.get(2..).unwrap_or_default());
        Ok(Capability::Other { code: capability.code(), value })
    };
    Ok(match capability {
        Codec::MultiProtocol { afi, safi } => match family_of(*afi, *safi) {
            Some(family) => Capability::MultiProtocol(family),
            None => other()?,
        },
        Codec::RouteRefresh => Capability::RouteRefresh,
        Codec::ExtendedMessage => Capability::ExtendedMessage,
        Codec::EnhancedRouteRefresh => Capability::EnhancedRouteRefresh,
        Codec::FourOctetAs { asn } => Capability::FourOctetAs(*asn),
        Codec::GracefulRestart { restart_state, notification, restart_time, families } => Capability::GracefulRestart {
            restarting: *restart_state,
            notification: *notification,
            restart_time: *restart_time,
            families: families
                .iter()
                .filter_map(|f| Some((family_of(f.afi, f.safi)?, f.forwarding_preserved)))
                .collect(),
        },
        Codec::Unknown { code: FQDN, data } => match fqdn_of(data) {
            Some((hostname, domain)) => Capability::Fqdn { hostname, domain },
            None => other()?,
        },
        _ => other()?,
    })
}

/// Code of the FQDN capability (draft-walton-bgp-hostname-capability).
pub(crate) const FQDN: u8 = 73;

/// Length and host name, length and domain name, and nothing behind; `None` if an inner length is wrong or a name is
/// not UTF-8.
fn fqdn_of(value: &[u8]) -> Option<(String, String)> {
    let (host_len, rest) = value.split_first()?;
    let (host, rest) = rest.split_at_checked(usize::from(*host_len))?;
    let (domain_len, domain) = rest.split_first()?;
    if domain.len() != usize::from(*domain_len) {
        return None;
    }
    let text = |octets: &[u8]| std::str::from_utf8(octets).ok().map(str::to_owned);
    Some((text(host)?, text(domain)?))
}

/// Our family of a unicast AFI and SAFI.
pub(crate) fn family_of(afi: Afi, safi: Safi) -> Option<Family> {
    family_of_codes(afi as u16, safi as u8)
}

pub(crate) fn family_of_codes(afi: u16, safi: u8) -> Option<Family> {
    match (afi, safi) {
        (1, 1) => Some(Family::V4),
        (2, 1) => Some(Family::V6),
        _ => None,
    }
}

impl DecodeError {
    /// Ours from the codec's. `message` is what could not be decoded, empty if not known.
    pub(crate) fn of(error: &rustbgpd_wire::DecodeError, message: &[u8]) -> DecodeError {
        let (notification_code, subcode, data) = error.to_notification();
        // The codec answers a short NOTIFICATION with an OPEN error; framing has refused those before, but be right here too.
        let notification_code = match (notification_code, message.get(18)) {
            (NotificationCode::OpenMessage, Some(3)) => NotificationCode::MessageHeader,
            (other, _) => other,
        };
        // Diagnostic data is a copy of what was received: an extended message's may not fit a NOTIFICATION of 4096.
        let data = data.slice(..data.len().min(crate::MAX_MESSAGE - 21));
        DecodeError {
            notification: Notification::new(notification_code.as_u8(), subcode, data),
            what: error.to_string(),
        }
    }
}
