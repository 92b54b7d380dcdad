//! UPDATE: attributes, reachability, and the treatments of RFC 7606.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use bytes::Bytes;
use model::{Family, Prefix};

use super::attribute_list::{Parts, split};
use super::decode_with;
use super::list::List;
use super::reachability::{reach, unreach};
use crate::nlri::Reader;
use crate::{
    Announced, AttributeError, Attributes, DecodeError, Message, Negotiated, Notification, Treatment, Update,
    Withdrawn, code,
};

/// Decodes the messages of one session and remembers attributes: a table arrives as many UPDATEs with few different
/// attribute lists. Equal lists share one [`Attributes`].
#[derive(Debug)]
pub struct Decoder {
    /// Attribute lists without an error, keyed by their octets.
    known: BTreeMap<Bytes, Arc<List>>,
    /// Octets of all keys.
    octets: usize,
    /// All keys together may have so many octets; when more come the memory starts afresh.
    most_octets: usize,
    /// What the lists were decoded for: four-octet AS numbers, internal peer, AS_SETs taken.
    for_session: [bool; 3],
}

impl Default for Decoder {
    fn default() -> Decoder {
        // For some 5,000 lists of the usual length; 200 peers that fill it cost 50 MiB and the attributes.
        Decoder { most_octets: 256 * 1024, ..Decoder::forgetful() }
    }
}

impl Decoder {
    /// One that remembers nothing, for a single message.
    pub(super) const fn forgetful() -> Decoder {
        Decoder { known: BTreeMap::new(), octets: 0, most_octets: 0, for_session: [false; 3] }
    }

    /// Same as [`decode`](crate::decode), with memory. A change of `negotiated` is noticed.
    ///
    /// # Errors
    /// As [`decode`](crate::decode).
    pub fn decode(&mut self, message: &[u8], negotiated: &Negotiated) -> Result<Message, DecodeError> {
        decode_with(message, negotiated, |body| self.decode_update(body, negotiated))
    }

    fn decode_update(&mut self, body: &[u8], negotiated: &Negotiated) -> Result<Update, DecodeError> {
        let Sections { withdrawn, attributes, nlri } = sections(body)?;
        let has_body = negotiated.families.contains(&Family::V4);
        if withdrawn.is_empty() && attributes.is_empty() && nlri.is_empty() {
            return Ok(Update { end_of_rib: has_body.then_some(Family::V4), ..Update::default() });
        }
        let Parts { rest, reach: reach_attribute, unreach: unreach_attribute } =
            split(attributes, &negotiated.families)?;
        if let (Some(attribute), None) = (&unreach_attribute, &reach_attribute)
            && attribute.value.is_empty()
            && rest.is_empty()
            && (!has_body || (withdrawn.is_empty() && nlri.is_empty()))
        {
            // Nothing but an empty MP_UNREACH_NLRI. With any other attribute beside it, it says nothing at all.
            let mut errors = Vec::new();
            unreach(attribute, negotiated, &mut errors);
            if errors.is_empty() {
                return Ok(Update { end_of_rib: Some(attribute.family), ..Update::default() });
            }
        }

        let list = self.list(&rest, negotiated)?;
        let mut update = Update { errors: list.errors.clone(), ..Update::default() };
        let mut announces = false;
        if has_body {
            let add_path = negotiated.add_path_receive.contains(&Family::V4);
            withdraw(&mut update.withdrawn, Reader::new(withdrawn, Family::V4, add_path))?;
            announces = !nlri.is_empty();
            let prefixes = Reader::new(nlri, Family::V4, add_path);
            match list.next_hop_for(announces) {
                Ok(Some(next_hop)) => announce(&mut update.announced, prefixes, IpAddr::V4(next_hop), None)?,
                // Only with nothing announced in the body.
                Ok(None) => {}
                Err(error) => {
                    update.errors.push(error);
                    withdraw(&mut update.withdrawn, prefixes)?;
                }
            }
        }
        if let Some(attribute) = &unreach_attribute {
            withdraw(&mut update.withdrawn, unreach(attribute, negotiated, &mut update.errors))?;
        }
        if let Some(attribute) = &reach_attribute {
            announces = true;
            let found = reach(attribute, negotiated, &mut update.errors)?;
            announce(&mut update.announced, found.prefixes, found.next_hop, found.link_local)?;
        }
        if announces {
            update.errors.extend(list.missing());
        }
        settle(&mut update, &list.attributes);
        Ok(update)
    }

    /// Decodes a list without MP attributes, or finds it again.
    fn list(&mut self, rest: &[u8], negotiated: &Negotiated) -> Result<Arc<List>, DecodeError> {
        let for_session = [negotiated.four_octet_as, negotiated.ibgp, negotiated.accept_as_sets];
        if self.for_session != for_session {
            self.known.clear();
            self.octets = 0;
            self.for_session = for_session;
        }
        if let Some(list) = self.known.get(rest) {
            return Ok(Arc::clone(list));
        }
        let list = Arc::new(List::decode(rest, negotiated)?);
        if list.errors.is_empty() && rest.len() <= self.most_octets {
            if self.octets + rest.len() > self.most_octets {
                self.known.clear();
                self.octets = 0;
            }
            self.octets += rest.len();
            // A copy: a slice would keep the whole message.
            self.known.insert(Bytes::copy_from_slice(rest), Arc::clone(&list));
        }
        Ok(list)
    }
}

/// Applies the strongest treatment, drops martians, and sees to it that no prefix stands on both sides.
fn settle(update: &mut Update, attributes: &Arc<Attributes>) {
    if let Some(error) = drop_martians(&mut update.announced) {
        update.errors.push(error);
    }
    update.treatment = update.errors.iter().map(|error| error.treatment).max();
    if update.treatment >= Some(Treatment::Withdraw) {
        let paths = update.announced.drain(..).map(|a| Withdrawn { prefix: a.prefix, path_id: a.path_id });
        update.withdrawn.extend(paths);
    }
    if !update.withdrawn.is_empty() && !update.announced.is_empty() {
        // Announced in the same message wins (RFC 4271 section 4.3).
        let announced: BTreeSet<(Prefix, u32)> = update.announced.iter().map(|a| (a.prefix, a.path_id)).collect();
        update.withdrawn.retain(|w| !announced.contains(&(w.prefix, w.path_id)));
    }
    if !update.announced.is_empty() {
        update.attributes = Some(Arc::clone(attributes));
    }
}

/// The three variable fields of an UPDATE.
struct Sections<'a> {
    withdrawn: &'a [u8],
    attributes: &'a [u8],
    nlri: &'a [u8],
}

fn sections(body: &[u8]) -> Result<Sections<'_>, DecodeError> {
    let section = |octets| {
        let (length, rest) = <[u8]>::split_first_chunk::<2>(octets)?;
        rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
    };
    let malformed = |name: &str| DecodeError {
        notification: Notification::new(code::UPDATE, 1, Bytes::new()),
        what: format!("UPDATE: the length of the {name} runs past the message"),
    };
    let (withdrawn, rest) = section(body).ok_or_else(|| malformed("withdrawn routes"))?;
    let (attributes, nlri) = section(rest).ok_or_else(|| malformed("path attributes"))?;
    Ok(Sections { withdrawn, attributes, nlri })
}

fn announce(
    announced: &mut Vec<Announced>,
    prefixes: Reader<'_>,
    next_hop: IpAddr,
    link_local: Option<Ipv6Addr>,
) -> Result<(), DecodeError> {
    announced.reserve(prefixes.most());
    for read in prefixes {
        let (prefix, path_id) = read?;
        announced.push(Announced { prefix, path_id, next_hop, link_local });
    }
    Ok(())
}

fn withdraw(withdrawn: &mut Vec<Withdrawn>, prefixes: Reader<'_>) -> Result<(), DecodeError> {
    withdrawn.reserve(prefixes.most());
    for read in prefixes {
        let (prefix, path_id) = read?;
        withdrawn.push(Withdrawn { prefix, path_id });
    }
    Ok(())
}

/// Takes out prefixes that no router can announce in earnest, and says which.
fn drop_martians(announced: &mut Vec<Announced>) -> Option<AttributeError> {
    const NAMED: usize = 5;
    let mut dropped = 0;
    let mut names = String::new();
    announced.retain(|a| {
        if !is_martian(&a.prefix) {
            return true;
        }
        dropped += 1;
        if dropped <= NAMED {
            let _ = write!(names, " {}", a.prefix);
        }
        false
    });
    if dropped == 0 {
        return None;
    }
    let more = if dropped > NAMED { format!(" and {} more", dropped - NAMED) } else { String::new() };
    let what = format!("martian prefixes:{names}{more}");
    Some(AttributeError { attribute: None, treatment: Treatment::Discard, what })
}

/// Inside "this network", loopback, link-local, multicast, reserved or IPv4-mapped space (RFC 6890, RFC 5735). A default
/// route is none: whether to take it is a question of policy.
fn is_martian(prefix: &Prefix) -> bool {
    let len = prefix.len();
    match prefix.address() {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            let inside = |first: bool, least: u8| first && len >= least;
            inside(a == 0, 8) || inside(a == 127, 8) || inside(a == 169 && b == 254, 16) || inside(a >= 224, 3)
        }
        IpAddr::V6(address) => {
            let [a, b, ..] = address.octets();
            (a == 0xff && len >= 8)
                || (a == 0xfe && b & 0xc0 == 0x80 && len >= 10)
                // ::, ::1, IPv4-compatible and IPv4-mapped: everything in ::/64 as far as addresses of hosts go.
                || (address.segments()[..5] == [0; 5] && len >= 80)
        }
    }
}
