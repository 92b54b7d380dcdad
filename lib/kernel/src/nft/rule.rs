//! A rule of the masquerade chain, to expressions and back; and how rules are compared.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::{Family, Prefix};
use netlink_packet_core::{DefaultNla, NLA_TYPE_MASK, Nla};
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, ListAttribute, Meta, MetaKey,
    NfTablesMessage, Operator, Payload, Register, RuleAttribute, Verdict, VerdictAttribute,
};

/// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
const PROTOCOL: [(Family, u8); 2] = [(Family::V4, 2), (Family::V6, 10)];
/// `NFT_PAYLOAD_NETWORK_HEADER`.
pub(super) const NETWORK_HEADER: u32 = 1;
/// `NFTA_MASQ_FLAGS` and `NF_NAT_RANGE_PROTO_RANDOM_FULLY`.
const MASQUERADE_FLAGS: (u16, u32) = (1, 1 << 4);

/// Name of the expression that counts packets.
pub(super) const COUNTER: &str = "counter";

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Packets to these destinations are left alone.
    Return(Prefix),
    /// Packets from these sources are masqueraded.
    Masquerade(Prefix),
}

impl Rule {
    /// The rule as the kernel runs it: protocol, masked address, verdict.
    pub(super) fn expressions(&self) -> Vec<Expressions> {
        let (prefix, offset) = match self {
            Rule::Return(prefix) => (prefix, destination(prefix.family())),
            Rule::Masquerade(prefix) => (prefix, source(prefix.family())),
        };
        let mut expressions = of_family(prefix.family()).to_vec();
        // All addresses: there is nothing to compare.
        if prefix.len() > 0 {
            let address = octets(&prefix.address());
            expressions.push(load(NETWORK_HEADER, offset, address.len() as u32));
            if prefix.len() < prefix.family().bits() {
                expressions.push(Expressions::Bitwise(vec![
                    Bitwise::SourceRegister(Register::Reg1),
                    Bitwise::DestinationRegister(Register::Reg1),
                    Bitwise::Length(address.len() as u32),
                    Bitwise::Mask(DataAttribute::Value(mask(prefix.len(), address.len()))),
                    Bitwise::Xor(DataAttribute::Value(vec![0; address.len()])),
                ]));
            }
            expressions.push(equal(address));
        }
        expressions.push(match self {
            Rule::Return(_) => verdict(Verdict::Return),
            Rule::Masquerade(_) => Expressions::Other {
                expression_type: "masq".to_owned(),
                attributes: vec![DefaultNla::new(MASQUERADE_FLAGS.0, MASQUERADE_FLAGS.1.to_be_bytes().to_vec())],
            },
        });
        expressions
    }

    /// The rule in a message of the kernel; `None` unless it is just what [`Rule::expressions`] makes of it.
    pub(super) fn read(message: &NfTablesMessage) -> Option<Rule> {
        let found = expressions_of(message)?;
        let guess = guess(&found)?;
        same(&guess.expressions(), &found).then_some(guess)
    }
}

/// What a rule in a message of the kernel does; `None` if it cannot be read.
pub(super) fn expressions_of(message: &NfTablesMessage) -> Option<Vec<&Expressions>> {
    let NfTablesMessage::NewRule(rule) = message else { return None };
    let lists = rule.attributes.iter().filter_map(|attribute| match attribute {
        RuleAttribute::Expressions(list) => Some(list),
        _ => None,
    });
    lists.flatten().map(expression).collect()
}

/// Does the kernel run just these expressions?
pub(super) fn same(ours: &[Expressions], found: &[&Expressions]) -> bool {
    ours.len() == found.len() && ours.iter().zip(found).all(|(a, b)| canonical(a) == canonical(b))
}

/// Which rule it is, if it is one of ours: protocol, address, mask and verdict are picked from where they would be.
fn guess(found: &[&Expressions]) -> Option<Rule> {
    let [_, Expressions::Cmp(protocol), middle @ .., verdict] = found else { return None };
    let family = PROTOCOL.iter().find(|(_, number)| compared(protocol) == Some(&[*number]))?.0;
    let (address, length) = match middle {
        [] => (vec![0; usize::from(family.bits() / 8)], 0),
        [_, Expressions::Cmp(address)] => (compared(address)?.to_vec(), family.bits()),
        [_, Expressions::Bitwise(mask), Expressions::Cmp(address)] => (compared(address)?.to_vec(), length(mask)?),
        _ => return None,
    };
    let address = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?)),
    };
    let prefix = Prefix::new(address, length)?;
    match verdict {
        Expressions::Immediate(_) => Some(Rule::Return(prefix)),
        Expressions::Other { .. } => Some(Rule::Masquerade(prefix)),
        _ => None,
    }
}

pub(super) fn compared(attributes: &[Cmp]) -> Option<&[u8]> {
    attributes.iter().find_map(|attribute| match attribute {
        Cmp::Data(DataAttribute::Value(value)) => Some(value.as_slice()),
        _ => None,
    })
}

/// Leading ones of the mask; that nothing but zeros follows is the business of the comparison of the whole rule.
fn length(attributes: &[Bitwise]) -> Option<u8> {
    attributes.iter().find_map(|attribute| match attribute {
        Bitwise::Mask(DataAttribute::Value(mask)) => {
            let ones: u32 = mask.iter().map(|octet| octet.count_ones()).sum();
            u8::try_from(ones).ok()
        }
        _ => None,
    })
}

fn expression(element: &ListAttribute<ExpressionAttribute>) -> Option<&Expressions> {
    let ListAttribute::Element(attributes) = element else { return None };
    attributes.iter().find_map(|attribute| match attribute {
        ExpressionAttribute::Data(expressions) => Some(expressions),
        _ => None,
    })
}

/// Name and attributes, sorted: the kernel dumps them in its own order.
fn canonical(expressions: &Expressions) -> (&str, Vec<(u16, Vec<u8>)>) {
    match expressions {
        Expressions::Bitwise(attributes) => {
            // A kernel since 5.6 tells the operation; 0 is the one of old, mask and xor.
            let attributes: Vec<Bitwise> =
                attributes.iter().filter(|attribute| **attribute != Bitwise::Op(0)).cloned().collect();
            ("bitwise", sorted(&attributes))
        }
        Expressions::Cmp(attributes) => ("cmp", sorted(attributes)),
        Expressions::Immediate(attributes) => ("immediate", sorted(attributes)),
        Expressions::Lookup(attributes) => ("lookup", sorted(attributes)),
        Expressions::Meta(attributes) => ("meta", sorted(attributes)),
        Expressions::Payload(attributes) => ("payload", sorted(attributes)),
        // What it has counted is no part of the rule.
        Expressions::Other { expression_type, .. } if expression_type == COUNTER => (COUNTER, Vec::new()),
        Expressions::Other { expression_type, attributes } => (expression_type, sorted(attributes)),
        // Nothing of ours; equal to nothing of ours.
        _ => ("", Vec::new()),
    }
}

fn sorted<T: Nla>(attributes: &[T]) -> Vec<(u16, Vec<u8>)> {
    let mut sorted: Vec<_> = attributes
        .iter()
        .map(|attribute| {
            let mut value = vec![0; attribute.value_len()];
            attribute.emit_value(&mut value);
            (attribute.kind() & NLA_TYPE_MASK, value)
        })
        .collect();
    sorted.sort();
    sorted
}

/// Only packets of the family pass on to the next expression.
pub(super) fn of_family(family: Family) -> [Expressions; 2] {
    let protocol = PROTOCOL.iter().find(|(known, _)| *known == family).map_or(0, |(_, number)| *number);
    [meta(MetaKey::Nfproto), equal(vec![protocol])]
}

pub(super) fn meta(key: MetaKey) -> Expressions {
    Expressions::Meta(vec![Meta::Key(key), Meta::DestinationRegister(Register::Reg1)])
}

/// Octets of a header into the register.
pub(super) fn load(base: u32, offset: u32, octets: u32) -> Expressions {
    Expressions::Payload(vec![
        Payload::DestinationRegister(Register::Reg1),
        Payload::Base(base),
        Payload::Offset(offset),
        Payload::Len(octets),
    ])
}

pub(super) fn verdict(verdict: Verdict) -> Expressions {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(vec![VerdictAttribute::Code(verdict)])),
    ])
}

pub(super) fn equal(value: Vec<u8>) -> Expressions {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(Register::Reg1),
        Cmp::Op(Operator::Equal),
        Cmp::Data(DataAttribute::Value(value)),
    ])
}

/// Where the source address lies in the header, in octets (RFC 791, RFC 8200).
pub(super) const fn source(family: Family) -> u32 {
    match family {
        Family::V4 => 12,
        Family::V6 => 8,
    }
}

pub(super) const fn destination(family: Family) -> u32 {
    match family {
        Family::V4 => 16,
        Family::V6 => 24,
    }
}

fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn mask(length: u8, octets: usize) -> Vec<u8> {
    (0..octets)
        .map(|at| {
            let ones = usize::from(length).saturating_sub(at * 8).min(8);
            // 0xff00 >> 8 is all ones, 0xff00 >> 0 none.
            (0xff00_u16 >> ones) as u8
        })
        .collect()
}
