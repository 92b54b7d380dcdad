//! The attribute list of an UPDATE without the MP attributes, and the treatments of RFC 7606.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use model::Asn;

use super::as_path::{self, Said, Width};
use super::attribute_list::{Attribute, attribute_at};
use super::reachability::is_router;
use crate::attribute_types::{
    AGGREGATOR, AIGP, AS_PATH, AS4_AGGREGATOR, AS4_PATH, ATOMIC_AGGREGATE, ATTR_SET, BGP_LS, CLASS, CLUSTER_LIST,
    COMMUNITIES, EXTENDED_COMMUNITIES, EXTENDED_LENGTH, IPV6_EXTENDED_COMMUNITIES, LARGE_COMMUNITY, LOCAL_PREF,
    MP_REACH_NLRI, MP_UNREACH_NLRI, MULTI_EXIT_DISC, NEXT_HOP, ONLY_TO_CUSTOMER, OPTIONAL, ORIGIN, ORIGINATOR_ID,
    PARTIAL, PREFIX_SID, TRANSITIVE, class, name,
};
use crate::{AttributeError, Attributes, DecodeError, Negotiated, Origin, RawAttribute, Treatment};

/// What an attribute list without the MP attributes says.
#[derive(Debug)]
pub(super) struct List {
    pub(super) attributes: Arc<Attributes>,
    has_origin: bool,
    has_as_path: bool,
    next_hop: Option<Ipv4Addr>,
    pub(super) errors: Vec<AttributeError>,
}

impl List {
    /// Reads all of it, whatever is wrong on the way.
    ///
    /// # Errors
    /// Only if one of the MP attributes does not fit the list: its NLRI cannot be read (RFC 7606 section 5.3).
    pub(super) fn decode(list: &[u8], negotiated: &Negotiated) -> Result<List, DecodeError> {
        let mut reader = Reader {
            negotiated,
            attributes: Attributes::default(),
            said: Said::default(),
            origin: None,
            next_hop: None,
            errors: Vec::new(),
        };
        // How often each type was seen.
        let mut seen = [0_u8; 256];
        let mut start = 0;
        while let Some(attribute) = attribute_at(list, start) {
            let octets = list.get(start..attribute.end).unwrap_or_default();
            let times = &mut seen[usize::from(attribute.code)];
            *times = times.saturating_add(1);
            match *times {
                1 => reader.read(&attribute, octets),
                // RFC 7606 section 3 g. A thousand times are worth one line.
                2 => reader.error(attribute.code, Treatment::Discard, "more than once: the first one counts", octets),
                _ => {}
            }
            start = attribute.end;
        }
        let tail = list.get(start..).unwrap_or_default();
        if let Some(code @ (MP_REACH_NLRI | MP_UNREACH_NLRI)) = tail.get(1).copied() {
            return Err(super::attribute_list::unreadable(code, tail, "it runs past the attribute list"));
        }
        if !tail.is_empty() {
            // RFC 7606 section 4: where the prefixes are is known all the same.
            let what = format!("attribute list with {} octets that are no attribute{}", tail.len(), hex(tail));
            let attribute = tail.get(1).copied();
            reader.errors.push(AttributeError { attribute, treatment: Treatment::Withdraw, what });
        }
        Ok(reader.finish())
    }

    /// Mandatory attributes that are not there (RFC 7606 section 3 d).
    pub(super) fn missing(&self) -> impl Iterator<Item = AttributeError> {
        let missing = |code, there: bool| (!there).then(|| missing(code));
        [missing(ORIGIN, self.has_origin), missing(AS_PATH, self.has_as_path)].into_iter().flatten()
    }

    /// Next hop of the prefixes in the body. Mandatory with them on internal sessions as well (RFC 4271 section 5.1.3).
    /// Beside MP_REACH_NLRI alone it is ignored, whatever it is (RFC 4760 section 3).
    pub(super) fn next_hop_for(&self, body: bool) -> Result<Option<Ipv4Addr>, AttributeError> {
        if !body {
            return Ok(None);
        }
        match self.next_hop {
            None => Err(missing(NEXT_HOP)),
            Some(next_hop) if is_router(IpAddr::V4(next_hop)) => Ok(Some(next_hop)),
            Some(next_hop) => {
                let what = format!("NEXT_HOP {next_hop} is no address of a router");
                Err(AttributeError { attribute: Some(NEXT_HOP), treatment: Treatment::Withdraw, what })
            }
        }
    }
}

fn missing(code: u8) -> AttributeError {
    let what = format!("{} is missing", name(code));
    AttributeError { attribute: Some(code), treatment: Treatment::Withdraw, what }
}

/// A list while it is read.
struct Reader<'a> {
    negotiated: &'a Negotiated,
    attributes: Attributes,
    /// What is put together only when all has been read.
    said: Said,
    origin: Option<Origin>,
    next_hop: Option<Ipv4Addr>,
    errors: Vec<AttributeError>,
}

/// What is wrong with a value, and how that is treated.
type Malformed = (Treatment, String);

impl Reader<'_> {
    fn error(&mut self, code: u8, treatment: Treatment, what: &str, octets: &[u8]) {
        let what = format!("{} {what}{}", name(code), hex(octets));
        self.errors.push(AttributeError { attribute: Some(code), treatment, what: what.trim_start().to_owned() });
    }

    fn read(&mut self, attribute: &Attribute<'_>, octets: &[u8]) {
        let Attribute { flags, code, value, .. } = *attribute;
        if let Err((treatment, what)) = self.judge(flags, code, value) {
            self.error(code, treatment, &what, octets);
        }
    }

    fn judge(&mut self, flags: u8, code: u8, value: &[u8]) -> Result<(), Malformed> {
        // Discarded however well or ill they are formed (RFC 7606 sections 7.5, 7.9, 7.10; RFC 6793 section 6).
        match code {
            LOCAL_PREF | ORIGINATOR_ID | CLUSTER_LIST if !self.negotiated.ibgp => {
                return Err((Treatment::Discard, "from an external peer".to_owned()));
            }
            AS4_PATH | AS4_AGGREGATOR if self.negotiated.four_octet_as => {
                return Err((Treatment::Discard, "from a peer with four-octet AS numbers".to_owned()));
            }
            _ => {}
        }
        let Some(class) = class(code) else {
            return self.unknown(flags, code, value);
        };
        if flags & CLASS != class {
            // RFC 7606 section 3 c. The Partial bit is not asked about. What we discard anyway is not worth more.
            let treatment = if matches!(code, AIGP | BGP_LS) { Treatment::Discard } else { Treatment::Withdraw };
            return Err((treatment, format!("with flags {flags:#04x}, {class:#04x} expected")));
        }
        self.value(code, value)
    }

    /// RFC 4271 sections 5 and 6.3, RFC 7606 section 3: not known is kept, dropped, or refused, as its flags say.
    fn unknown(&mut self, flags: u8, code: u8, value: &[u8]) -> Result<(), Malformed> {
        if flags & OPTIONAL == 0 {
            return Err((Treatment::Withdraw, format!("unknown attribute {code} that claims to be well-known")));
        }
        if flags & TRANSITIVE != 0 {
            self.keep(code, value);
        }
        Ok(())
    }

    /// Passed on with the Partial bit: we did not interpret it.
    fn keep(&mut self, code: u8, value: &[u8]) {
        let extended = if value.len() > 255 { EXTENDED_LENGTH } else { 0 };
        let flags = OPTIONAL | TRANSITIVE | PARTIAL | extended;
        self.attributes.unknown.push(RawAttribute { code, flags, value: Bytes::copy_from_slice(value) });
    }

    /// A value whose flags are right.
    fn value(&mut self, code: u8, value: &[u8]) -> Result<(), Malformed> {
        let attributes = &mut self.attributes;
        let length = |treatment, expected: &str| (treatment, format!("of {} octets, {expected} expected", value.len()));
        let withdraw = |expected: &str| length(Treatment::Withdraw, expected);
        let discard = |expected: &str| length(Treatment::Discard, expected);
        let four = || <[u8; 4]>::try_from(value).map_err(|_| withdraw("4"));
        match code {
            ORIGIN => {
                let [number] = value else { return Err(withdraw("1")) };
                self.origin = Some(match number {
                    0 => Origin::Igp,
                    1 => Origin::Egp,
                    2 => Origin::Incomplete,
                    other => return Err((Treatment::Withdraw, format!("{other}, 0 to 2 expected"))),
                });
            }
            AS_PATH => {
                let width = if self.negotiated.four_octet_as { Width::Four } else { Width::Two };
                let path = as_path::read(value, width, self.negotiated.accept_as_sets);
                self.said.path = Some(path.map_err(|what| (Treatment::Withdraw, format!("malformed: {what}")))?);
            }
            NEXT_HOP => self.next_hop = Some(four()?.into()),
            MULTI_EXIT_DISC => attributes.med = Some(u32::from_be_bytes(four()?)),
            LOCAL_PREF => attributes.local_pref = Some(u32::from_be_bytes(four()?)),
            ATOMIC_AGGREGATE if value.is_empty() => attributes.atomic_aggregate = true,
            ATOMIC_AGGREGATE => return Err(discard("0")),
            AGGREGATOR if self.negotiated.four_octet_as => self.said.aggregator = Some(aggregator(value)?),
            AGGREGATOR => {
                let [high, low, id @ ..] = value else { return Err(discard("6")) };
                let id = <[u8; 4]>::try_from(id).map_err(|_| discard("6"))?;
                self.said.aggregator = Some((some_as(u32::from_be_bytes([0, 0, *high, *low]))?, id.into()));
            }
            AS4_AGGREGATOR => self.said.as4_aggregator = Some(aggregator(value)?),
            AS4_PATH => return self.as4_path(value),
            COMMUNITIES => attributes.communities = set(value, u32::from_be_bytes).ok_or_else(|| withdraw("4n"))?,
            EXTENDED_COMMUNITIES => {
                attributes.ext_communities = set(value, u64::from_be_bytes).ok_or_else(|| withdraw("8n"))?;
            }
            LARGE_COMMUNITY => {
                attributes.large_communities = set(value, large_community).ok_or_else(|| withdraw("12n"))?;
            }
            ORIGINATOR_ID => attributes.originator_id = Some(four()?.into()),
            CLUSTER_LIST => attributes.cluster_list = rows(value, Ipv4Addr::from).ok_or_else(|| withdraw("4n"))?,
            ONLY_TO_CUSTOMER => attributes.only_to_customer = Some(Asn(u32::from_be_bytes(four()?))),
            IPV6_EXTENDED_COMMUNITIES if value.is_empty() || !value.len().is_multiple_of(20) => {
                return Err(withdraw("20n"));
            }
            ATTR_SET if !is_attribute_set(value) => return Err((Treatment::Withdraw, "malformed".to_owned())),
            PREFIX_SID if !is_tlvs(value, 1, 0) => return Err((Treatment::Discard, "malformed".to_owned())),
            IPV6_EXTENDED_COMMUNITIES | ATTR_SET | PREFIX_SID => self.keep(code, value),
            // Optional and non-transitive: of no use to us, and to nobody behind us.
            AIGP if !is_tlvs(value, 1, 3) => return Err((Treatment::Discard, "malformed".to_owned())),
            BGP_LS if !is_tlvs(value, 2, 0) => return Err((Treatment::Discard, "malformed".to_owned())),
            _ => {}
        }
        Ok(())
    }

    fn as4_path(&mut self, value: &[u8]) -> Result<(), Malformed> {
        let path = as_path::read_as4_path(value);
        let path = path.map_err(|what| (Treatment::Discard, format!("malformed: {what}")))?;
        if path.sets && !self.negotiated.accept_as_sets {
            return Err((Treatment::Withdraw, "with a set, which RFC 9774 has abolished".to_owned()));
        }
        let confederation = path.confederation;
        self.said.as4_path = Some(path);
        if confederation {
            return Err((Treatment::Discard, "with segments of a confederation, which are left out".to_owned()));
        }
        Ok(())
    }

    fn finish(self) -> List {
        let Reader { mut attributes, said, origin, next_hop, errors, .. } = self;
        let (as_path, aggregator) = said.merge();
        let (has_origin, has_as_path) = (origin.is_some(), as_path.is_some());
        attributes.origin = origin.unwrap_or_default();
        attributes.as_path = as_path.unwrap_or_default();
        attributes.aggregator = aggregator;
        attributes.unknown.sort();
        List { attributes: Arc::new(attributes), has_origin, has_as_path, next_hop, errors }
    }
}

/// AGGREGATOR with a four-octet number, and AS4_AGGREGATOR.
fn aggregator(value: &[u8]) -> Result<(Asn, Ipv4Addr), Malformed> {
    let wrong = || (Treatment::Discard, format!("of {} octets, 8 expected", value.len()));
    let (asn, id) = value.split_first_chunk::<4>().ok_or_else(wrong)?;
    let id = <[u8; 4]>::try_from(id).map_err(|_| wrong())?;
    Ok((some_as(u32::from_be_bytes(*asn))?, id.into()))
}

/// RFC 7607 section 2.
fn some_as(number: u32) -> Result<Asn, Malformed> {
    if number == 0 { Err((Treatment::Discard, "of AS 0".to_owned())) } else { Ok(Asn(number)) }
}

/// Rows of one length, at least one; `None` if that is not what it is.
fn rows<const N: usize, T>(value: &[u8], row: impl Fn([u8; N]) -> T) -> Option<Vec<T>> {
    let (rows, rest) = value.as_chunks::<N>();
    (rest.is_empty() && !rows.is_empty()).then(|| rows.iter().copied().map(row).collect())
}

/// Communities are sets: order and repetition mean nothing (RFC 1997, RFC 8092 section 4).
fn set<const N: usize, T: Ord>(value: &[u8], row: impl Fn([u8; N]) -> T) -> Option<Vec<T>> {
    let mut values = rows(value, row)?;
    values.sort_unstable();
    values.dedup();
    Some(values)
}

fn large_community(octets: [u8; 12]) -> [u32; 3] {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = octets;
    [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]), u32::from_be_bytes([i, j, k, l])]
}

/// Is it types and two-octet lengths with as many octets behind them? `type_size` octets of type; a length counts
/// `header` octets that stand in front of the value.
fn is_tlvs(mut value: &[u8], type_size: usize, header: usize) -> bool {
    while !value.is_empty() {
        let Some((length, rest)) = value.get(type_size..).and_then(|rest| rest.split_first_chunk::<2>()) else {
            return false;
        };
        let length = usize::from(u16::from_be_bytes(*length));
        let Some(rest) = length.checked_sub(header).and_then(|length| rest.get(length..)) else {
            return false;
        };
        value = rest;
    }
    true
}

/// ATTR_SET (RFC 6368 section 5): an AS number and a list of whole attributes.
fn is_attribute_set(value: &[u8]) -> bool {
    let Some(list) = value.get(4..) else {
        return false;
    };
    let mut start = 0;
    while let Some(attribute) = attribute_at(list, start) {
        start = attribute.end;
    }
    start == list.len()
}

/// The first octets, for the log: `, octets 40 01 02 00 00`.
fn hex(octets: &[u8]) -> String {
    const MOST: usize = 32;
    let mut text = String::new();
    if octets.is_empty() {
        return text;
    }
    text.push_str(", octets");
    for octet in octets.iter().take(MOST) {
        let _ = write!(text, " {octet:02x}");
    }
    if octets.len() > MOST {
        let _ = write!(text, " and {} more", octets.len() - MOST);
    }
    text
}
