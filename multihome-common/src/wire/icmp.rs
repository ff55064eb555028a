//! ICMP and ICMPv6 (RFC 792, RFC 4443): types and codes that the packet path sends or minds.

use crate::transport::Icmp;

/// Length of the header, in bytes.
pub const LEN: usize = 8;

/// ICMP: echo reply.
pub const V4_ECHO_REPLY: u8 = 0;
/// ICMP: echo request.
pub const V4_ECHO: u8 = 8;
/// ICMP: timestamp request.
pub const V4_TIMESTAMP: u8 = 13;
/// ICMP: timestamp reply.
pub const V4_TIMESTAMP_REPLY: u8 = 14;
/// ICMP: destination unreachable.
pub const V4_UNREACHABLE: u8 = 3;
/// Code of [`V4_UNREACHABLE`]: network unreachable.
pub const V4_NET: u8 = 0;
/// Code of [`V4_UNREACHABLE`]: communication administratively prohibited (RFC 1812 section 5.2.7.1).
pub const V4_PROHIBITED: u8 = 13;
/// Code of [`V4_UNREACHABLE`]: fragmentation needed and DF set (RFC 1191).
pub const V4_FRAGMENTATION_NEEDED: u8 = 4;
/// ICMP: time exceeded; code 0 = in transit.
pub const V4_TIME_EXCEEDED: u8 = 11;

/// ICMP: parameter problem.
pub const V4_PARAMETER_PROBLEM: u8 = 12;

/// ICMPv6: destination unreachable; code 0 = no route.
pub const V6_UNREACHABLE: u8 = 1;
/// Code of [`V6_UNREACHABLE`]: communication administratively prohibited.
pub const V6_PROHIBITED: u8 = 1;
/// Code of [`V6_UNREACHABLE`]: source address failed ingress or egress policy.
pub const V6_SOURCE_POLICY: u8 = 5;
/// ICMPv6: packet too big.
pub const V6_TOO_BIG: u8 = 2;
/// ICMPv6: time exceeded; code 0 = in transit.
pub const V6_TIME_EXCEEDED: u8 = 3;
/// ICMPv6: redirect, which counts as an error message for RFC 4443 section 2.4 (e).
pub const V6_REDIRECT: u8 = 137;

/// What kind of message an ICMP type is to a translator. Queries that nobody sends any more
/// (RFC 6918) count as other messages.
#[inline(always)]
pub const fn v4_kind(kind: u8) -> Icmp {
    match kind {
        V4_ECHO | V4_TIMESTAMP => Icmp::Query,
        V4_ECHO_REPLY | V4_TIMESTAMP_REPLY => Icmp::Answer,
        _ => Icmp::Other,
    }
}

/// Whether an ICMP message of this type is a query or its answer: only those may cause an ICMP
/// error (RFC 1122 section 3.2.2), so a type that is not known counts as an error.
#[inline(always)]
pub const fn v4_is_query(kind: u8) -> bool {
    matches!(kind, 0 | 8 | 9 | 10 | 13..=18)
}

/// Whether an ICMPv6 message of this type is an error, which quotes a packet (RFC 4443 section 2.1).
#[inline(always)]
pub const fn v6_is_error(kind: u8) -> bool {
    kind < 128
}

/// Whether an ICMPv6 message of this type may cause an ICMPv6 error (RFC 4443 section 2.4 (e)).
#[inline(always)]
pub const fn v6_is_query(kind: u8) -> bool {
    kind >= 128 && kind != V6_REDIRECT
}
