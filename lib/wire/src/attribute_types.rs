//! Type codes and flags of path attributes (RFC 4271 section 4.3, and the IANA registry).

/// Set for all but well-known attributes.
pub(crate) const OPTIONAL: u8 = 0x80;
/// Passed on by who does not know it.
pub(crate) const TRANSITIVE: u8 = 0x40;
/// Somebody on the way did not know it.
pub(crate) const PARTIAL: u8 = 0x20;
/// The length has two octets.
pub(crate) const EXTENDED_LENGTH: u8 = 0x10;
/// The two flags that an attribute's type decides.
pub(crate) const CLASS: u8 = OPTIONAL | TRANSITIVE;

pub(crate) const ORIGIN: u8 = 1;
pub(crate) const AS_PATH: u8 = 2;
pub(crate) const NEXT_HOP: u8 = 3;
pub(crate) const MULTI_EXIT_DISC: u8 = 4;
pub(crate) const LOCAL_PREF: u8 = 5;
pub(crate) const ATOMIC_AGGREGATE: u8 = 6;
pub(crate) const AGGREGATOR: u8 = 7;
/// RFC 1997.
pub(crate) const COMMUNITIES: u8 = 8;
/// RFC 4456.
pub(crate) const ORIGINATOR_ID: u8 = 9;
/// RFC 4456.
pub(crate) const CLUSTER_LIST: u8 = 10;
/// RFC 4760.
pub(crate) const MP_REACH_NLRI: u8 = 14;
/// RFC 4760.
pub(crate) const MP_UNREACH_NLRI: u8 = 15;
/// RFC 4360.
pub(crate) const EXTENDED_COMMUNITIES: u8 = 16;
/// RFC 6793.
pub(crate) const AS4_PATH: u8 = 17;
/// RFC 6793.
pub(crate) const AS4_AGGREGATOR: u8 = 18;
/// RFC 5701.
pub(crate) const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
/// RFC 7311.
pub(crate) const AIGP: u8 = 26;
/// RFC 9552.
pub(crate) const BGP_LS: u8 = 29;
/// RFC 8092.
pub(crate) const LARGE_COMMUNITY: u8 = 32;
/// RFC 9234.
pub(crate) const ONLY_TO_CUSTOMER: u8 = 35;
/// RFC 8669.
pub(crate) const PREFIX_SID: u8 = 40;
/// RFC 6368.
pub(crate) const ATTR_SET: u8 = 128;

/// Segment types of AS_PATH.
pub(crate) mod segment {
    pub(crate) const SET: u8 = 1;
    pub(crate) const SEQUENCE: u8 = 2;
    /// RFC 5065.
    pub(crate) const CONFED_SEQUENCE: u8 = 3;
    /// RFC 5065.
    pub(crate) const CONFED_SET: u8 = 4;
}

/// Name as RFCs write it; empty for what we do not know.
pub(crate) const fn name(code: u8) -> &'static str {
    match code {
        ORIGIN => "ORIGIN",
        AS_PATH => "AS_PATH",
        NEXT_HOP => "NEXT_HOP",
        MULTI_EXIT_DISC => "MULTI_EXIT_DISC",
        LOCAL_PREF => "LOCAL_PREF",
        ATOMIC_AGGREGATE => "ATOMIC_AGGREGATE",
        AGGREGATOR => "AGGREGATOR",
        COMMUNITIES => "COMMUNITIES",
        ORIGINATOR_ID => "ORIGINATOR_ID",
        CLUSTER_LIST => "CLUSTER_LIST",
        MP_REACH_NLRI => "MP_REACH_NLRI",
        MP_UNREACH_NLRI => "MP_UNREACH_NLRI",
        EXTENDED_COMMUNITIES => "EXTENDED COMMUNITIES",
        AS4_PATH => "AS4_PATH",
        AS4_AGGREGATOR => "AS4_AGGREGATOR",
        IPV6_EXTENDED_COMMUNITIES => "IPv6 EXTENDED COMMUNITIES",
        AIGP => "AIGP",
        BGP_LS => "BGP-LS attribute",
        LARGE_COMMUNITY => "LARGE_COMMUNITY",
        ONLY_TO_CUSTOMER => "ONLY_TO_CUSTOMER",
        PREFIX_SID => "PREFIX_SID",
        ATTR_SET => "ATTR_SET",
        _ => "",
    }
}

/// Optional and Transitive as the type wants them; `None` for a type that we do not know.
pub(crate) const fn class(code: u8) -> Option<u8> {
    match code {
        ORIGIN | AS_PATH | NEXT_HOP | LOCAL_PREF | ATOMIC_AGGREGATE => Some(TRANSITIVE),
        MULTI_EXIT_DISC | ORIGINATOR_ID | CLUSTER_LIST | MP_REACH_NLRI | MP_UNREACH_NLRI | AIGP | BGP_LS => {
            Some(OPTIONAL)
        }
        AGGREGATOR
        | COMMUNITIES
        | EXTENDED_COMMUNITIES
        | AS4_PATH
        | AS4_AGGREGATOR
        | IPV6_EXTENDED_COMMUNITIES
        | LARGE_COMMUNITY
        | ONLY_TO_CUSTOMER
        | PREFIX_SID
        | ATTR_SET => Some(CLASS),
        _ => None,
    }
}
