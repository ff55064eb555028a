//! The TCP header (RFC 9293 section 3.1).

/// Length without options, in bytes.
pub const LEN: usize = 20;
/// Where the flags stand.
pub const FLAGS_AT: usize = 13;
/// Where the checksum stands.
pub const CHECKSUM_AT: usize = 16;

/// The sender has no more to send.
pub const FIN: u8 = 0x01;
/// The sender opens the connection.
pub const SYN: u8 = 0x02;
/// The connection is broken off.
pub const RST: u8 = 0x04;
/// The acknowledgement number counts.
pub const ACK: u8 = 0x10;

/// The longest header, in bytes: options take 40 of them.
pub const MAX_LEN: usize = 60;
/// The option that ends the list.
pub const OPTION_END: u8 = 0;
/// The option that fills up: one byte, without a length.
pub const OPTION_NOP: u8 = 1;
/// The option that says how much a segment may carry: kind, length, two bytes.
pub const OPTION_MSS: u8 = 2;
/// Length of that option, in bytes.
pub const OPTION_MSS_LEN: usize = 4;

/// Length of a header with options, in bytes: 0 to 60.
#[inline(always)]
pub const fn header_len(header: &[u8; LEN]) -> usize {
    (header[12] >> 4) as usize * 4
}
