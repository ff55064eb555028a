//! How much of everything there may be: the sizes that kernel and user share.

/// Uplinks of one gateway; an uplink's id is a bit number in the alive and eligible words.
pub const MAX_UPLINKS: usize = 64;
/// Groups of uplinks.
pub const MAX_GROUPS: usize = 64;
/// LAN ports of one gateway.
pub const MAX_LAN_PORTS: usize = 64;
/// Slots of all devices: uplinks first (slot = uplink id), then LAN ports.
pub const MAX_SLOTS: usize = MAX_UPLINKS + MAX_LAN_PORTS;
/// Names that one controller leaves to the next: of the devices by slot, then of the groups by id.
pub const MAX_NAMES: usize = MAX_SLOTS + MAX_GROUPS;
/// Size of the open-addressed table that finds a port by its device's ifindex and its framing.
pub const PORT_TABLE_SIZE: usize = 1024;
/// How many places after its home a port may stand in that table.
pub const PORT_TABLE_PROBES: usize = 8;

/// Hash buckets of a group, as a power of two. With 2^14 buckets the share that rendezvous hashing
/// gives a member of weight one half is within 0.4 percentage points (one standard deviation).
pub const BUCKET_BITS: u32 = 14;
/// Hash buckets of a group.
pub const BUCKETS: usize = 1 << BUCKET_BITS;
/// Uplink ids in one rank row.
pub const RANKED: usize = 8;
/// Rank rows that the map holds: two copies of every group's, one in force and one to fill.
pub const MAX_ROWS: usize = MAX_GROUPS * BUCKETS * 2;

/// Rules of one gateway.
pub const MAX_RULES: usize = 1000;
/// Words of a set of rules.
pub const RULE_WORDS: usize = 16;
/// Pieces of the address space in which the rules that a packet may match differ, of one family and end.
pub const MAX_PIECES: usize = 4096;

/// Combinations of domains that addresses may belong to, with that of none.
pub const MAX_DOMAIN_CLASSES: usize = 1024;
/// Addresses of which it is known what domains they belong to.
pub const MAX_DOMAIN_ADDRESSES: usize = 16_384;

/// Segments of one address table: how many times the class may change between the lowest address
/// of a family and the highest.
pub const MAX_SEGMENTS: usize = 1024;
/// LAN hosts of one family whose MAC is known.
pub const MAX_HOSTS: usize = 65_536;

/// 802.1Q and 802.1ad tags that are parsed; a frame with more is not looked into.
pub const MAX_VLAN_TAGS: usize = 2;
/// IPv6 extension headers that are walked through; behind more the transport counts as unknown.
pub const MAX_EXTENSION_HEADERS: usize = 6;

/// Largest IPv4 packet that an ICMP error may be (RFC 1812 section 4.3.2.3).
pub const ICMP4_ERROR_MAX: usize = 576;
/// Largest IPv6 packet that an ICMPv6 error may be: the minimum MTU (RFC 4443 section 2.4 c).
pub const ICMP6_ERROR_MAX: usize = 1280;

/// ICMP errors that each CPU may send in one second.
pub const REPLIES_PER_SECOND: u64 = 1000;
/// ICMP errors that each CPU may send at once after a pause.
pub const REPLY_BURST: u64 = 100;
/// TCP resets that each CPU may send in one second.
pub const RESETS_PER_SECOND: u64 = 50_000;
/// TCP resets that each CPU may send at once after a pause.
pub const RESET_BURST: u64 = 50_000;

/// Outside addresses of one uplink.
pub const MAX_OUTSIDE: usize = 8;
/// How often a word that another CPU changed meanwhile is tried again.
pub const CLAIM_ATTEMPTS: usize = 4;
/// Fragmented datagrams that are remembered.
pub const FRAGMENT_SLOTS: usize = 4096;
/// Outside addresses of all uplinks.
pub const MAX_OUTSIDES: usize = MAX_UPLINKS * MAX_OUTSIDE;

const _: () = assert!(
    MAX_RULES < 64 * RULE_WORDS,
    "the last place counts packets that no rule matches"
);
