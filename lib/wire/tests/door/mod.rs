//! The entries of the fuzz targets and of the corpus test: whatever octets come, the codec keeps its promises. Each takes any
//! octets and makes of them what its target is about, so that little of a run is spent on what framing refuses.

use std::collections::BTreeSet;

use model::{Family, Prefix};
use wire::{
    Decoder, HEADER, MAX_EXTENDED_MESSAGE, Message, Negotiated, Notification, Treatment, Update, decode, encode,
    encode_announce, encode_withdraw, frame_length,
};

/// Takes `data` for a message, and for the body of one whose type its first octet picks.
///
/// # Panics
/// When a promise is broken.
pub fn enter(data: &[u8]) {
    for negotiated in sessions() {
        if let Ok(Some(length)) = frame_length(data, negotiated.max_message) {
            assert!((HEADER..=negotiated.max_message).contains(&length));
            if let Some(message) = data.get(..length) {
                check(message, &negotiated);
            }
        }
        if let Some((kind, body)) = data.split_first() {
            let Ok(message) = frame(kind % 5 + 1, body) else { continue };
            check(&message, &negotiated);
        }
    }
}

/// The optional parameters of an OPEN whose fixed part is sound: the first octet picks the form.
pub fn open(data: &[u8]) {
    let Some((form, parameters)) = data.split_first() else { return };
    let fixed = [4, 0xfd, 0xe9, 0, 90, 192, 0, 2, 1];
    let length = parameters.len().min(4000);
    let parameters = &parameters[..length];
    let [high, low] = (length as u16).to_be_bytes();
    let body = match form % 3 {
        // All of it is the body.
        0 => data[1..=length].to_vec(),
        // Classic parameters, or capabilities in one parameter if they fit.
        1 if length <= 252 => [&fixed[..], &[length as u8 + 2, 2, length as u8], parameters].concat(),
        1 => [&fixed[..], &[length as u8], parameters].concat(),
        // RFC 9072.
        _ => [&fixed[..], &[255, 255, high, low], parameters].concat(),
    };
    message(1, &body);
}

/// One attribute of the type and flags that the first octets say, among sound ones and before a canary: the attribute
/// behind it must not be lost unless the path is.
pub fn attribute(data: &[u8]) {
    let [kind, flags, value @ ..] = data else { return };
    // One of those that have a form, most of the time; the type octet itself, else.
    let kinds = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 25, 26, 29, 32, 35, 40, 128];
    let code = kinds.get(usize::from(*kind)).copied().unwrap_or(*kind);
    let value = &value[..value.len().min(3900)];
    let [high, low] = (value.len() as u16).to_be_bytes();
    let one = [&[flags | 0x10, code, high, low], value].concat();
    let canary = [0xc0, if code == 8 { 16 } else { 8 }, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    for negotiated in sessions() {
        let path: &[u8] = match negotiated.four_octet_as {
            true => &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9],
            false => &[0x40, 2, 6, 2, 2, 0xfd, 0xe9, 0x5b, 0xa0],
        };
        let id: &[u8] = if negotiated.add_path_receive.contains(&Family::V4) { &[0, 0, 0, 7] } else { &[] };
        // The attribute in front, so that it is the first of its type.
        let list = [&one[..], &[0x40, 1, 1, 0], path, &[0x40, 3, 4, 192, 0, 2, 1], &canary].concat();
        let nlri = [id, &[24, 203, 0, 113]].concat();
        let Ok(octets) = frame(2, &update_body(&[], &list, &nlri)) else { return };
        check(&octets, &negotiated);
        if let Ok(Message::Update(update)) = decode(&octets, &negotiated)
            && let Some(attributes) = &update.attributes
        {
            let there = if code == 8 {
                attributes.ext_communities == [0x0102_0304_0506_0708]
            } else {
                attributes.communities == [0x0102_0304, 0x0506_0708]
            };
            assert!(there, "what stands behind attribute {code} is lost: {attributes:?}");
        }
    }
}

/// Withdrawn routes, attributes and NLRI whose lengths add up; the first two octets say where to cut.
pub fn update(data: &[u8]) {
    let [first, second, rest @ ..] = data else { return };
    let rest = &rest[..rest.len().min(60_000)];
    let (withdrawn, rest) = rest.split_at(rest.len() * usize::from(*first) / 512);
    let (list, nlri) = rest.split_at(rest.len() * (256 - usize::from(*second)) / 256);
    message(2, &update_body(withdrawn, list, nlri));
}

/// Any NOTIFICATION, and any as the reason of a Cease.
pub fn notification(data: &[u8]) {
    message(3, data);
    if let [code, subcode, rest @ ..] = data {
        message(3, &[&[6, 9, *code, *subcode], rest].concat());
        message(3, &[&[6, 2 + subcode % 2 * 2], rest].concat());
        let text: String = data.iter().map(|octet| char::from(*octet)).collect();
        let told = Notification::cease(2 + subcode % 2 * 2, &text);
        assert!(told.data.len() <= 256);
        let hard = Notification::hard_reset(&Notification::new(*code, *subcode, rest.to_vec().into()));
        for notification in [told, hard] {
            assert!(!notification.words().chars().any(char::is_control));
            round_trip(&Message::Notification(notification), &Negotiated::default());
        }
    }
}

/// Any ROUTE-REFRESH.
pub fn refresh(data: &[u8]) {
    message(5, data);
}

/// A message of type `kind` on each session.
fn message(kind: u8, body: &[u8]) {
    let Ok(octets) = frame(kind, body) else { return };
    for negotiated in sessions() {
        check(&octets, &negotiated);
    }
}

/// With a header; the error is a body that no message has room for.
fn frame(kind: u8, body: &[u8]) -> Result<Vec<u8>, std::num::TryFromIntError> {
    let length = u16::try_from(body.len() + HEADER)?;
    Ok([&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat())
}

fn update_body(withdrawn: &[u8], list: &[u8], nlri: &[u8]) -> Vec<u8> {
    let length = |section: &[u8]| (section.len() as u16).to_be_bytes();
    [&length(withdrawn)[..], withdrawn, &length(list), list, nlri].concat()
}

/// Sessions of each kind.
fn sessions() -> Vec<Negotiated> {
    let mut sessions = Vec::new();
    for (four_octet_as, ibgp) in [(true, true), (true, false), (false, true), (false, false)] {
        let families = BTreeSet::from(Family::BOTH);
        // Many paths on two of them.
        let add_path = if ibgp == four_octet_as { families.clone() } else { BTreeSet::new() };
        sessions.push(Negotiated {
            four_octet_as,
            ibgp,
            families,
            max_message: MAX_EXTENDED_MESSAGE,
            add_path_send: add_path.clone(),
            add_path_receive: add_path,
            extended_next_hop_send: four_octet_as,
            extended_next_hop_receive: four_octet_as,
            accept_as_sets: ibgp && !four_octet_as,
        });
    }
    let families = BTreeSet::from([Family::V6]);
    sessions.push(Negotiated { four_octet_as: true, ibgp: false, families, ..Negotiated::default() });
    sessions
}

fn check(message: &[u8], negotiated: &Negotiated) {
    let mut decoder = Decoder::default();
    let decoded = decoder.decode(message, negotiated);
    assert_eq!(decoded, decoder.decode(message, negotiated), "memory changes nothing");
    match decoded {
        Err(error) => {
            assert!((1..=8).contains(&error.notification.code), "{error}");
            assert!(!error.what.is_empty());
            let answer = Message::Notification(error.notification);
            assert!(encode(&answer, &Negotiated::default()).is_ok(), "a NOTIFICATION always fits 4096 octets");
        }
        Ok(Message::Update(update)) => check_update(&update, negotiated),
        Ok(Message::Notification(notification)) => {
            assert!(!notification.words().chars().any(char::is_control));
            round_trip(&Message::Notification(notification), negotiated);
        }
        // An OPEN of AS 0 or with two capabilities 65 can be received and not sent.
        Ok(open @ Message::Open(_)) => {
            if let Ok(octets) = encode(&open, negotiated) {
                assert_eq!(decode(&octets, negotiated), Ok(open));
            }
        }
        Ok(Message::RouteRefresh(refresh)) if refresh.family.is_none() => {}
        Ok(other) => round_trip(&other, negotiated),
    }
}

fn round_trip(message: &Message, negotiated: &Negotiated) {
    let octets = encode(message, negotiated).unwrap();
    assert_eq!(decode(&octets, negotiated).as_ref(), Ok(message));
}

fn check_update(update: &Update, negotiated: &Negotiated) {
    let strongest = update.errors.iter().map(|error| error.treatment).max();
    assert_eq!(update.treatment, strongest);
    assert!(update.treatment < Some(Treatment::ResetSession), "that is an error of its own");
    if update.treatment >= Some(Treatment::Withdraw) {
        assert!(update.announced.is_empty());
    }
    assert_eq!(update.attributes.is_some(), !update.announced.is_empty());
    if update.end_of_rib.is_some() {
        let alone = Update { end_of_rib: update.end_of_rib, ..Update::default() };
        assert_eq!(update, &alone);
    }
    let announced: BTreeSet<(Prefix, u32)> = update.announced.iter().map(|a| (a.prefix, a.path_id)).collect();
    let withdrawn: BTreeSet<(Prefix, u32)> = update.withdrawn.iter().map(|w| (w.prefix, w.path_id)).collect();
    assert!(announced.is_disjoint(&withdrawn));
    assert!(announced.union(&withdrawn).all(|(prefix, _)| negotiated.families.contains(&prefix.family())));

    // What was taken in can be said again, and means the same.
    if let Some(attributes) = &update.attributes {
        if negotiated.ibgp {
            assert!(attributes.as_path.ases().all(|asn| asn.0 != 0));
        } else {
            assert_eq!((attributes.local_pref, attributes.originator_id), (None, None));
            assert!(attributes.cluster_list.is_empty());
        }
        for announced in &update.announced {
            let (next_hop, link_local) = (announced.next_hop, announced.link_local);
            let Ok(messages) =
                encode_announce(&[(announced.prefix, announced.path_id)], next_hop, link_local, attributes, negotiated)
            else {
                panic!("cannot be sent: {announced:?} {attributes:?}");
            };
            let Ok(Message::Update(again)) = decode(&messages[0], negotiated) else {
                panic!("cannot be read again: {announced:?} {attributes:?}");
            };
            assert_eq!(again.announced, [*announced]);
            assert_eq!(again.attributes.as_ref(), Some(attributes));
        }
    }
    for family in Family::BOTH {
        let mut again = Vec::new();
        let paths = update.withdrawn.iter().map(|w| (w.prefix, w.path_id));
        let prefixes: Vec<(Prefix, u32)> = paths.filter(|(prefix, _)| prefix.family() == family).collect();
        for message in encode_withdraw(&prefixes, negotiated).unwrap() {
            assert!(message.len() <= negotiated.max_message);
            let Ok(Message::Update(update)) = decode(&message, negotiated) else { panic!("cannot be read again") };
            again.extend(update.withdrawn.iter().map(|w| (w.prefix, w.path_id)));
        }
        assert_eq!(again, prefixes);
    }
}
