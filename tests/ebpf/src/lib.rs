//! What the measurements' XDP programs share with user space: which traffic is made, and its frames.
#![no_std]

pub mod ring;

/// The UDP port that all of the measurements' traffic goes to.
pub const PORT: u16 = 9;
/// The first LAN host's IPv4 address; host n has the n-th one from here.
pub const HOSTS4: u32 = u32::from_be_bytes([10, 65, 0, 0]);
/// The first server's IPv4 address.
pub const SERVERS4: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// The LAN hosts' IPv6 prefix, in host order; host n has the address n + 1 in it.
pub const HOSTS6: u64 = 0xfd00_0065_0000_0001;
/// The servers' IPv6 prefix, in host order.
pub const SERVERS6: u64 = 0x2001_0db8_0018_0000;
/// Flows of one LAN host, each from a port of its own.
pub const PORTS_OF_HOST: u32 = 1 << PORT_BITS;
const PORT_BITS: u32 = 12;
/// Inside ends (addresses and ports) that there are: on each uplink that it uses, each of them needs an
/// outside port. Flows beyond that are from the same ends to other servers.
pub const ENDS: u32 = 1 << 16;
/// The first port of LAN hosts.
const FIRST_PORT: u32 = 16384;
/// Length of Ethernet, IPv4 and UDP header.
pub const HEADERS4: usize = 14 + 20 + 8;
/// Length of Ethernet, IPv6 and UDP header.
pub const HEADERS6: usize = 14 + 40 + 8;

/// Which traffic is made.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// The number of flows, less one; it is a power of two.
    pub mask: u64,
    /// The number of the first flow.
    pub first: u64,
    /// Where each CPU begins to count.
    pub begin: u64,
    /// The device that frames leave by.
    pub ifindex: u32,
    /// 4 or 6.
    pub family: u32,
    /// 1 = frames of several sizes, see [`mixed_len`]; 0 = all of the size that they are made with.
    pub mixed: u32,
    /// The frames' destination and source MAC.
    pub macs: [u8; 12],
}

/// One flow's ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The number of the LAN host.
    pub host: u32,
    /// Its port.
    pub port: u16,
    /// The number of the server, 0 to 255.
    pub server: u32,
}

impl Flow {
    /// The flow of this number, below 2^24.
    #[inline(always)]
    pub const fn new(number: u64) -> Self {
        let number = number as u32;
        let (end, turn) = (number % ENDS, number / ENDS);
        Self {
            host: end >> PORT_BITS,
            port: (FIRST_PORT + (end & (PORTS_OF_HOST - 1))) as u16,
            server: ((end.wrapping_mul(0x9e37_79b1) >> 24) + turn) & 0xff,
        }
    }
}

/// Which flow the packet of this count belongs to: each in turn, in no order that a table could have.
#[inline(always)]
pub const fn number(traffic: &Traffic, count: u64) -> u64 {
    scattered(count, traffic.mask).wrapping_add(traffic.first)
}

/// The numbers up to a mask of ones, each once, in another order.
#[inline(always)]
const fn scattered(count: u64, mask: u64) -> u64 {
    // An odd factor changes the order of a power of two of numbers, and leaves none out.
    count.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask
}

/// The length that frames of several sizes are made with, before they are cut.
pub const MIXED_LEN: u32 = 1514;

/// The length of the frame of this count, without the check sequence: of twelve, seven have 62 bytes,
/// four 590 and one 1514 ("simple IMIX").
#[inline(always)]
pub const fn mixed_len(count: u64) -> u32 {
    match count % 12 {
        0 | 2 | 4 | 6 | 8 | 10 | 11 => 62,
        1 | 3 | 7 | 9 => 590,
        _ => MIXED_LEN,
    }
}

/// Writes the IPv4 headers of a flow's packet into a frame of `len` bytes, whose payload is zero.
#[inline(always)]
pub fn write4(frame: &mut [u8; HEADERS4], macs: &[u8; 12], flow: Flow, len: usize) {
    let addresses = [HOSTS4 + flow.host, SERVERS4 + flow.server];
    headers4(frame, macs, addresses, [flow.port, PORT], len);
}

/// Writes the IPv4 headers of a packet from the first address and port to the second.
#[inline(always)]
pub fn headers4(
    frame: &mut [u8; HEADERS4],
    macs: &[u8; 12],
    [source, destination]: [u32; 2],
    ports: [u16; 2],
    len: usize,
) {
    let ip_len = (len - 14) as u16;
    let udp_len = ip_len - 20;
    let addresses = halves(source) + halves(destination);
    frame[..12].copy_from_slice(macs);
    frame[12..18].copy_from_slice(&[0x08, 0x00, 0x45, 0, 0, 0]);
    frame[16..18].copy_from_slice(&ip_len.to_be_bytes());
    frame[18..24].copy_from_slice(&[0, 0, 0x40, 0, 64, 17]);
    let sum = 0x4500 + u32::from(ip_len) + 0x4000 + 0x4011 + addresses;
    frame[24..26].copy_from_slice(&finish(sum));
    frame[26..30].copy_from_slice(&source.to_be_bytes());
    frame[30..34].copy_from_slice(&destination.to_be_bytes());
    let sum = addresses + udp(&mut frame[34..42], ports, udp_len);
    frame[40..42].copy_from_slice(&finish(sum));
}

/// Writes the IPv6 headers of a flow's packet into a frame of `len` bytes, whose payload is zero.
#[inline(always)]
pub fn write6(frame: &mut [u8; HEADERS6], macs: &[u8; 12], flow: Flow, len: usize) {
    let addresses = [
        [HOSTS6, u64::from(flow.host) + 1],
        [SERVERS6, u64::from(flow.server) + 1],
    ];
    headers6(frame, macs, addresses, [flow.port, PORT], len);
}

/// Writes the IPv6 headers of a packet from the first address and port to the second; addresses are
/// in host order.
#[inline(always)]
pub fn headers6(
    frame: &mut [u8; HEADERS6],
    macs: &[u8; 12],
    [source, destination]: [[u64; 2]; 2],
    ports: [u16; 2],
    len: usize,
) {
    let udp_len = (len - 54) as u16;
    frame[..12].copy_from_slice(macs);
    frame[12..18].copy_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
    frame[18..20].copy_from_slice(&udp_len.to_be_bytes());
    frame[20..22].copy_from_slice(&[17, 64]);
    frame[22..30].copy_from_slice(&source[0].to_be_bytes());
    frame[30..38].copy_from_slice(&source[1].to_be_bytes());
    frame[38..46].copy_from_slice(&destination[0].to_be_bytes());
    frame[46..54].copy_from_slice(&destination[1].to_be_bytes());
    let mut sum = udp(&mut frame[54..62], ports, udp_len);
    for word in [source[0], source[1], destination[0], destination[1]] {
        sum += halves((word >> 32) as u32) + halves(word as u32);
    }
    frame[60..62].copy_from_slice(&finish(sum));
}

/// Writes a UDP header but for its checksum; the sum of what the checksum covers besides addresses.
#[inline(always)]
fn udp(header: &mut [u8], [source, destination]: [u16; 2], len: u16) -> u32 {
    header[..2].copy_from_slice(&source.to_be_bytes());
    header[2..4].copy_from_slice(&destination.to_be_bytes());
    header[4..6].copy_from_slice(&len.to_be_bytes());
    17 + 2 * u32::from(len) + u32::from(source) + u32::from(destination)
}

#[inline(always)]
const fn halves(word: u32) -> u32 {
    (word >> 16) + (word & 0xffff)
}

/// The checksum field for a sum of 16-bit words.
#[inline(always)]
const fn finish(sum: u32) -> [u8; 2] {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    (!(sum as u16)).to_be_bytes()
}
