//! PPPoE's session header with PPP's protocol number (RFC 2516 section 4, RFC 1661 section 2).

/// Length of what a session puts before a packet, in bytes: its header of 6 and the protocol number of 2.
/// Ethernet's own type stands before it, and is counted there.
pub const LEN: usize = 8;
/// Bytes of the payload that are PPP's own: its protocol number.
pub const PROTOCOL_LEN: usize = 2;
/// Version 1, type 1, and the code of session data.
pub const SESSION_DATA: [u8; 2] = [0x11, 0];
/// PPP's protocol number of IPv4 (RFC 1332).
pub const IPV4: u16 = 0x0021;
/// PPP's protocol number of IPv6 (RFC 5072).
pub const IPV6: u16 = 0x0057;
