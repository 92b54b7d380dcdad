//! Malformed messages, each with what RFC 7606 (or RFC 4271 section 6) makes of it.

/// AS of the router that sends them.
pub const ASN: u32 = 65066;
/// Its address.
pub const SENDER: [u8; 4] = [10, 27, 0, 66];

/// What a receiver must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// The attribute goes, the route stays.
    Discard,
    /// The route goes, the session stays.
    Withdraw,
    /// NOTIFICATION with this code and subcode; any subcode if 0 is given.
    Reset(u8, u8),
}

use Treatment::{Discard, Reset, Withdraw};

/// One class of malformed messages.
pub struct Class {
    pub name: &'static str,
    pub treatment: Treatment,
    pub message: fn(prefix: [u8; 4]) -> Vec<u8>,
}

/// A message with its header.
pub fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0xff; 16];
    message.extend_from_slice(&u16::try_from(19 + body.len()).unwrap().to_be_bytes());
    message.push(kind);
    message.extend_from_slice(body);
    message
}

/// OPEN with IPv4 unicast, four-octet AS and route refresh.
pub fn open() -> Vec<u8> {
    let mut capabilities = vec![1, 4, 0, 1, 0, 1, 2, 0, 65, 4];
    capabilities.extend_from_slice(&ASN.to_be_bytes());
    let mut body = vec![4];
    body.extend_from_slice(&u16::try_from(ASN).unwrap().to_be_bytes());
    body.extend_from_slice(&90u16.to_be_bytes());
    body.extend_from_slice(&SENDER);
    body.push(u8::try_from(capabilities.len() + 2).unwrap());
    body.extend_from_slice(&[2, u8::try_from(capabilities.len()).unwrap()]);
    body.extend_from_slice(&capabilities);
    framed(1, &body)
}

pub fn keepalive() -> Vec<u8> {
    framed(4, &[])
}

pub fn route_refresh() -> Vec<u8> {
    framed(5, &[0, 1, 0, 1])
}

/// A /24 announced as it should be.
pub fn announce(prefix: [u8; 4]) -> Vec<u8> {
    update(&whole(&[]), prefix)
}

fn attribute(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    let mut octets = vec![flags, code, u8::try_from(value.len()).unwrap()];
    octets.extend_from_slice(value);
    octets
}

fn origin() -> Vec<u8> {
    attribute(0x40, 1, &[0])
}

fn as_path() -> Vec<u8> {
    let mut value = vec![2, 1];
    value.extend_from_slice(&ASN.to_be_bytes());
    attribute(0x40, 2, &value)
}

fn next_hop() -> Vec<u8> {
    attribute(0x40, 3, &SENDER)
}

/// The three mandatory ones and more.
fn whole(more: &[u8]) -> Vec<u8> {
    [origin(), as_path(), next_hop(), more.to_vec()].concat()
}

fn update(attributes: &[u8], prefix: [u8; 4]) -> Vec<u8> {
    let mut body = vec![0, 0];
    body.extend_from_slice(&u16::try_from(attributes.len()).unwrap().to_be_bytes());
    body.extend_from_slice(attributes);
    body.extend_from_slice(&[24, prefix[0], prefix[1], prefix[2]]);
    framed(2, &body)
}

const fn class(name: &'static str, treatment: Treatment, message: fn([u8; 4]) -> Vec<u8>) -> Class {
    Class { name, treatment, message }
}

/// All of them. What an external peer may not send is among what is discarded.
pub const CLASSES: &[Class] = &[
    class("ORIGIN of two octets", Withdraw, |p| {
        update(&[attribute(0x40, 1, &[0, 0]), as_path(), next_hop()].concat(), p)
    }),
    class("ORIGIN 9", Withdraw, |p| update(&[attribute(0x40, 1, &[9]), as_path(), next_hop()].concat(), p)),
    class("AS_PATH with segment type 7", Withdraw, |p| {
        update(&[origin(), attribute(0x40, 2, &[7, 1, 0, 0, 0, 1]), next_hop()].concat(), p)
    }),
    class("AS_PATH with an empty segment", Withdraw, |p| {
        update(&[origin(), attribute(0x40, 2, &[2, 0]), next_hop()].concat(), p)
    }),
    class("AS_PATH whose segment overruns it", Withdraw, |p| {
        update(&[origin(), attribute(0x40, 2, &[2, 9, 0, 0, 0, 1]), next_hop()].concat(), p)
    }),
    class("AS_PATH with a confederation's segment", Withdraw, |p| {
        update(&[origin(), attribute(0x40, 2, &[3, 1, 0, 0, 0, 1]), next_hop()].concat(), p)
    }),
    class("AS_PATH with AS 0", Withdraw, |p| {
        let path = [&[2, 2][..], &ASN.to_be_bytes(), &[0; 4]].concat();
        update(&[origin(), attribute(0x40, 2, &path), next_hop()].concat(), p)
    }),
    class("NEXT_HOP of five octets", Withdraw, |p| {
        update(&[origin(), as_path(), attribute(0x40, 3, &[10, 27, 0, 66, 1])].concat(), p)
    }),
    class("MULTI_EXIT_DISC of three octets", Withdraw, |p| update(&whole(&attribute(0x80, 4, &[0; 3])), p)),
    class("no ORIGIN", Withdraw, |p| update(&[as_path(), next_hop()].concat(), p)),
    class("no AS_PATH", Withdraw, |p| update(&[origin(), next_hop()].concat(), p)),
    class("no NEXT_HOP", Withdraw, |p| update(&[origin(), as_path()].concat(), p)),
    class("COMMUNITIES without any", Withdraw, |p| update(&whole(&attribute(0xc0, 8, &[])), p)),
    class("COMMUNITIES of five octets", Withdraw, |p| update(&whole(&attribute(0xc0, 8, &[1; 5])), p)),
    class("EXTENDED COMMUNITIES of seven octets", Withdraw, |p| update(&whole(&attribute(0xc0, 16, &[1; 7])), p)),
    class("IPv6 EXTENDED COMMUNITIES of nineteen octets", Withdraw, |p| {
        update(&whole(&attribute(0xc0, 25, &[1; 19])), p)
    }),
    class("LARGE_COMMUNITIES of eleven octets", Withdraw, |p| update(&whole(&attribute(0xc0, 32, &[1; 11])), p)),
    class("ONLY_TO_CUSTOMER of three octets", Withdraw, |p| update(&whole(&attribute(0xc0, 35, &[1; 3])), p)),
    class("ORIGIN flagged optional", Withdraw, |p| {
        update(&[attribute(0xc0, 1, &[0]), as_path(), next_hop()].concat(), p)
    }),
    class("an attribute longer than all", Withdraw, |p| update(&whole(&[0xc0, 8, 200, 1, 2, 3, 4]), p)),
    class("an octet behind the attributes", Withdraw, |p| update(&whole(&[0xc0]), p)),
    class("LOCAL_PREF from outside", Discard, |p| update(&whole(&attribute(0x40, 5, &[0, 0, 0, 7])), p)),
    class("ATOMIC_AGGREGATE with a value", Discard, |p| update(&whole(&attribute(0x40, 6, &[1])), p)),
    class("AGGREGATOR of seven octets", Discard, |p| update(&whole(&attribute(0xc0, 7, &[1; 7])), p)),
    class("AGGREGATOR with AS 0", Discard, |p| update(&whole(&attribute(0xc0, 7, &[0, 0, 0, 0, 10, 0, 0, 1])), p)),
    class("ORIGINATOR_ID from outside", Discard, |p| update(&whole(&attribute(0x80, 9, &[1; 3])), p)),
    class("CLUSTER_LIST from outside", Discard, |p| update(&whole(&attribute(0x80, 10, &[1; 5])), p)),
    class("AS4_PATH of rubbish", Discard, |p| update(&whole(&attribute(0xc0, 17, &[9, 9, 9])), p)),
    class("MULTI_EXIT_DISC twice", Discard, |p| {
        update(&whole(&[attribute(0x80, 4, &[0; 4]), attribute(0x80, 4, &[1; 4])].concat()), p)
    }),
    class("AIGP of rubbish", Discard, |p| update(&whole(&attribute(0x80, 26, &[1, 0, 1])), p)),
    class("NLRI of 33 bits", Reset(3, 10), |_| {
        let attributes = whole(&[]);
        let mut body = vec![0, 0];
        body.extend_from_slice(&u16::try_from(attributes.len()).unwrap().to_be_bytes());
        body.extend_from_slice(&attributes);
        body.extend_from_slice(&[33, 10, 244, 1, 0, 0]);
        framed(2, &body)
    }),
    class("withdrawn routes longer than the message", Reset(3, 1), |_| framed(2, &[0, 200, 24, 10, 244, 1])),
    class("attributes longer than the message", Reset(3, 1), |_| framed(2, &[0, 0, 0, 200, 0x40, 1, 1, 0])),
    class("MP_REACH_NLRI twice", Reset(3, 0), |p| {
        let reach = [&[0, 1, 1, 4][..], &SENDER, &[0, 24, p[0], p[1], p[2]]].concat();
        let both = [attribute(0x80, 14, &reach), attribute(0x80, 14, &reach)].concat();
        update(&whole(&both), p)
    }),
    class("MP_REACH_NLRI with a next hop of five octets", Reset(3, 0), |p| {
        let reach = [&[0, 1, 1, 5][..], &SENDER, &[0, 0, 24, p[0], p[1], p[2]]].concat();
        update(&whole(&attribute(0x80, 14, &reach)), p)
    }),
    class("MP_UNREACH_NLRI of two octets", Reset(3, 0), |p| update(&whole(&attribute(0x80, 15, &[0, 1])), p)),
    class("a marker that is not all ones", Reset(1, 1), |_| {
        let mut message = keepalive();
        message[3] = 0;
        message
    }),
    class("a header of length 18", Reset(1, 2), |_| {
        let mut message = keepalive();
        message[17] = 18;
        message
    }),
    class("a KEEPALIVE of 20 octets", Reset(1, 2), |_| framed(4, &[0])),
    class("a message of type 9", Reset(1, 3), |_| framed(9, &[])),
    class("a second OPEN", Reset(5, 3), |_| open()),
];
