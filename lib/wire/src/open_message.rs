//! OPEN (RFC 4271 section 4.2) with its optional parameters, in the classic and in the extended form (RFC 9072).

use std::net::Ipv4Addr;

use bytes::{BufMut, Bytes, BytesMut};
use model::Asn;

use crate::frame::{begin, kind};
use crate::{Capability, DecodeError, EncodeError, HEADER, MAX_MESSAGE, Notification, Open, code, open};

/// The version that we speak.
const VERSION: u8 = 4;
/// AS_TRANS: in the two-octet field of who has a longer number (RFC 6793 section 9).
const AS_TRANS: u16 = 23456;
/// Parameter type of capabilities (RFC 5492).
const CAPABILITIES: u8 = 2;
/// Length and first type that announce the extended form (RFC 9072 section 2).
const EXTENDED: u8 = 255;

/// Reads the body of an OPEN.
pub(crate) fn decode(body: &[u8]) -> Result<Open, DecodeError> {
    let Some(([version, as_high, as_low, hold_high, hold_low, id @ .., length], rest)) = body.split_first_chunk::<10>()
    else {
        return Err(malformed(format!("OPEN body of {} octets", body.len())));
    };
    if *version != VERSION {
        let data = Bytes::copy_from_slice(&u16::from(VERSION).to_be_bytes());
        return Err(DecodeError {
            notification: Notification::new(code::OPEN, open::UNSUPPORTED_VERSION, data),
            what: format!("BGP version {version}, we speak {VERSION}"),
        });
    }
    let capabilities = parameters(*length, rest)?;
    let four = capabilities.iter().find_map(|c| match c {
        Capability::FourOctetAs(asn) => Some(*asn),
        _ => None,
    });
    Ok(Open {
        asn: Asn(four.unwrap_or(u32::from(u16::from_be_bytes([*as_high, *as_low])))),
        hold_time: u16::from_be_bytes([*hold_high, *hold_low]),
        router_id: Ipv4Addr::from(*id),
        capabilities,
    })
}

/// Optional parameters of `length` octets; all that is in the message, no more and no less.
fn parameters(length: u8, octets: &[u8]) -> Result<Vec<Capability>, DecodeError> {
    // RFC 9072: the type decides; a length other than 255 beside it is to be taken as well, 0 is not.
    let (length, mut rest, extended) = match octets {
        [EXTENDED, high, low, rest @ ..] if length != 0 => (usize::from(u16::from_be_bytes([*high, *low])), rest, true),
        [EXTENDED, ..] if length != 0 => return Err(malformed("extended optional parameters are cut".to_owned())),
        rest => (usize::from(length), rest, false),
    };
    if rest.len() != length {
        return Err(malformed(format!("{length} octets of optional parameters, {} in the message", rest.len())));
    }
    let mut capabilities = Vec::new();
    while let [kind, behind @ ..] = rest {
        let (length, behind) = match behind {
            [high, low, behind @ ..] if extended => (usize::from(u16::from_be_bytes([*high, *low])), behind),
            [length, behind @ ..] if !extended => (usize::from(*length), behind),
            _ => return Err(malformed(format!("optional parameter {kind} without a length"))),
        };
        let Some((value, behind)) = behind.split_at_checked(length) else {
            let what = format!("optional parameter {kind} of {length} octets, {} are left", behind.len());
            return Err(malformed(what));
        };
        if *kind != CAPABILITIES {
            return Err(DecodeError {
                notification: Notification::open_error(open::UNSUPPORTED_PARAMETER),
                what: format!("optional parameter {kind}, of which we know nothing"),
            });
        }
        read_capabilities(value, &mut capabilities)?;
        rest = behind;
    }
    Ok(capabilities)
}

/// All capabilities of a parameter; none may run past it.
fn read_capabilities(mut value: &[u8], into: &mut Vec<Capability>) -> Result<(), DecodeError> {
    while let [code, behind @ ..] = value {
        let Some((length, behind)) = behind.split_first() else {
            return Err(malformed(format!("capability {code} without a length")));
        };
        let Some((octets, behind)) = behind.split_at_checked(usize::from(*length)) else {
            return Err(malformed(format!("capability {code} of {length} octets, {} are left", behind.len())));
        };
        into.push(Capability::decode(*code, octets));
        value = behind;
    }
    Ok(())
}

/// 2/0: the lengths do not add up.
fn malformed(what: String) -> DecodeError {
    DecodeError { notification: Notification::open_error(0), what }
}

/// A whole OPEN: all capabilities in one parameter, in the extended form only if they do not fit the classic one.
pub(crate) fn encode(message: &Open) -> Result<Bytes, EncodeError> {
    // RFC 6793 section 4.2.2: a number that does not fit goes into capability 65, AS_TRANS into the field.
    let two_octets = u16::try_from(message.asn.0).ok();
    let capability = message.capabilities.iter().find_map(|c| match c {
        Capability::FourOctetAs(asn) => Some(*asn),
        _ => None,
    });
    if capability.unwrap_or(u32::from(two_octets.unwrap_or(0))) != message.asn.0 {
        return Err(EncodeError::Value {
            field: "AS number of OPEN",
            value: format!("{} needs capability 65 with the same number", message.asn),
        });
    }
    let mut capabilities = BytesMut::new();
    for capability in &message.capabilities {
        capability.encode(&mut capabilities)?;
    }
    let mut parameters = BytesMut::with_capacity(capabilities.len() + 6);
    match u8::try_from(capabilities.len()) {
        Ok(0) => parameters.put_u8(0),
        // With its own header it must stay below 255, which would announce the extended form.
        Ok(length) if length <= 252 => parameters.put_slice(&[length + 2, CAPABILITIES, length]),
        _ => {
            let too_long = |_| EncodeError::TooLong { size: HEADER + capabilities.len(), max: MAX_MESSAGE };
            parameters.put_slice(&[EXTENDED, EXTENDED]);
            parameters.put_u16(u16::try_from(capabilities.len() + 3).map_err(too_long)?);
            parameters.put_u8(CAPABILITIES);
            parameters.put_u16(u16::try_from(capabilities.len()).map_err(too_long)?);
        }
    }
    parameters.put_slice(&capabilities);
    // RFC 8654 section 3: OPEN stays within 4096, whatever the session allows.
    let mut octets = begin(kind::OPEN, 9 + parameters.len(), MAX_MESSAGE)?;
    octets.put_u8(VERSION);
    octets.put_u16(two_octets.unwrap_or(AS_TRANS));
    octets.put_u16(message.hold_time);
    octets.put_slice(&message.router_id.octets());
    octets.put_slice(&parameters);
    Ok(octets.freeze())
}
