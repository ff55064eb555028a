//! What was done with a packet and why: one numbered list for kernel, metrics and tests.
//!
//! Numbers are append-only, because pinned counters outlive the program that wrote them: a verdict
//! that is no longer given keeps its number.

/// What happens to the frame; several verdicts share one disposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// Sent out of another device.
    Forward,
    /// Left to the kernel's stack.
    Pass,
    /// Answered with an ICMP error, out of the device it came in on.
    Reply,
    /// Dropped.
    Drop,
}

impl Disposition {
    /// What happens to the frame, from the range that the verdict's number is in.
    #[inline(always)]
    pub const fn of_number(number: u8) -> Self {
        match number {
            0 => Self::Forward,
            1..16 => Self::Pass,
            16..32 => Self::Reply,
            _ => Self::Drop,
        }
    }
}

macro_rules! verdicts {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal, $name:literal, $disposition:ident;)+) => {
        /// What was done with a packet and why.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Verdict {
            $($(#[doc = $doc])+ $variant = $number,)+
        }

        const DISPOSITIONS: &[Disposition] = &[$(Disposition::$disposition),+];

        impl Verdict {
            /// Every verdict there is, in the order of their numbers.
            pub const ALL: &'static [Verdict] = &[$(Verdict::$variant),+];

            /// The name in metrics, status and logs: snake case, never changed once released.
            pub const fn name(self) -> &'static str {
                match self { $(Verdict::$variant => $name,)+ }
            }

            /// One sentence that says what the verdict means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Verdict::$variant => concat!($($doc),+),)+ }
            }

            /// The verdict of this number.
            pub const fn from_number(number: u8) -> Option<Verdict> {
                match number { $($number => Some(Verdict::$variant),)+ _ => None }
            }
        }
    };
}

verdicts! {
    /// Steered to an uplink, or sent to its LAN host.
    Forwarded = 0, "forwarded", Forward;
    /// Not IPv4 or IPv6, such as ARP: the kernel's.
    PassNotIp = 1, "pass_not_ip", Pass;
    /// The frame is addressed to another station's MAC, or to a group of stations.
    PassOtherHost = 2, "pass_other_host", Pass;
    /// For an address of the gateway itself.
    PassGateway = 3, "pass_gateway", Pass;
    /// For a directly connected prefix, which the kernel routes.
    PassOnLink = 4, "pass_on_link", Pass;
    /// Multicast, broadcast, link-local or another destination that is never steered.
    PassSpecial = 5, "pass_special", Pass;
    /// Came in on an uplink for an address that is not behind this gateway.
    PassNotOurs = 6, "pass_not_ours", Pass;
    /// For a LAN host whose MAC is not known yet: the kernel resolves it and delivers.
    PassNoNeighbour = 7, "pass_no_neighbour", Pass;
    /// Tagged for a VLAN that no port has: left to the kernel, which may have a VLAN device for it.
    PassVlanDevice = 8, "pass_vlan_device", Pass;
    /// The controller has not filled the tables for this device yet.
    PassNotReady = 9, "pass_not_ready", Pass;
    /// A later fragment for an outside address, whose first one was not a LAN host's: the kernel's.
    PassFragment = 10, "pass_fragment", Pass;
    /// Answered with time exceeded.
    ReplyTimeExceeded = 16, "reply_time_exceeded", Reply;
    /// Answered with fragmentation needed (IPv4) or packet too big (IPv6).
    ReplyTooBig = 17, "reply_too_big", Reply;
    /// Answered with network unreachable (IPv4) or no route (IPv6): no uplink serves this family.
    ReplyUnreachable = 18, "reply_unreachable", Reply;
    /// Answered with a TCP reset: the connection's uplink is gone, or nobody knows the connection.
    ReplyReset = 19, "reply_reset", Reply;
    /// Answered with communication administratively prohibited: a rule says that it is dropped.
    ReplyProhibited = 20, "reply_prohibited", Reply;
    /// Answered with source address failed policy: the source is under the own prefix of an uplink that
    /// is down, and no other takes it.
    ReplyWrongSource = 21, "reply_wrong_source", Reply;
    /// The frame ends inside a header, or before the length that its IP header states.
    DropTruncated = 32, "drop_truncated", Drop;
    /// A header that contradicts itself: version, header length, total length.
    DropBadHeader = 33, "drop_bad_header", Drop;
    /// The IPv4 header's checksum is wrong.
    DropBadChecksum = 34, "drop_bad_checksum", Drop;
    /// A source address that must not be forwarded from this side.
    DropMartianSource = 35, "drop_martian_source", Drop;
    /// TTL or hop limit used up, and no answer was allowed or left to the rate limit.
    DropHopLimit = 36, "drop_hop_limit", Drop;
    /// Larger than the way out, and no answer was allowed or left to the rate limit.
    DropTooBig = 37, "drop_too_big", Drop;
    /// No uplink serves this family, and no answer was allowed or left to the rate limit.
    DropNoUplink = 38, "drop_no_uplink", Drop;
    /// A table lookup that cannot fail did; a defect of multihome.
    DropInternal = 39, "drop_internal", Drop;
    /// Came in for the port of a LAN host that has not talked to this sender.
    DropFiltered = 40, "drop_filtered", Drop;
    /// Came in unasked for an outside address, and the configuration says to drop that.
    DropUnasked = 41, "drop_unasked", Drop;
    /// No outside port is free for a new flow.
    DropNoPort = 42, "drop_no_port", Drop;
    /// The flow table has no room for a new flow.
    DropNoFlow = 43, "drop_no_flow", Drop;
    /// A later fragment that came before the first, which alone says whose it is.
    DropEarlyFragment = 44, "drop_early_fragment", Drop;
    /// TCP of a connection that nobody knows, and no reset was allowed or left to the rate limit.
    DropUnknownConnection = 45, "drop_unknown_connection", Drop;
    /// An ICMP error about a packet that no flow has sent.
    DropUnknownError = 46, "drop_unknown_error", Drop;
    /// For a LAN host by an outside IPv4 address, and the host's MAC is not known yet.
    DropNoNeighbour = 47, "drop_no_neighbour", Drop;
    /// An IPv6 address that has no counterpart under the uplink's or the LAN's prefix.
    DropNoPrefix = 48, "drop_no_prefix", Drop;
    /// Came in on an uplink, and was lost by a fault that was put into its line.
    DropFaultIn = 49, "drop_fault_in", Drop;
    /// Sent out of an uplink, and lost by a fault that was put into its line.
    DropFaultOut = 50, "drop_fault_out", Drop;
    /// A rule says that it is dropped, and no answer was allowed or left to the rate limit.
    DropProhibited = 51, "drop_prohibited", Drop;
    /// Under the own prefix of an uplink that is down, and no answer was allowed or left to the rate limit.
    DropWrongSource = 52, "drop_wrong_source", Drop;
    /// Sent by a port with tags or PPPoE, for which the device that it came in on left no room.
    DropNoRoom = 53, "drop_no_room", Drop;
    /// Came in without a tag on a device that stands for a VLAN, of which it is not.
    DropUntagged = 54, "drop_untagged", Drop;
}

// The table above states each disposition; the kernel tells it by the number's range alone.
const _: () = {
    let mut at = 0;
    while at < Verdict::ALL.len() {
        assert!(Verdict::ALL[at].disposition() as u8 == DISPOSITIONS[at] as u8);
        at += 1;
    }
};

impl Verdict {
    /// The number that kernel and user share.
    #[inline(always)]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// What happens to the frame.
    #[inline(always)]
    pub const fn disposition(self) -> Disposition {
        Disposition::of_number(self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_are_distinct_and_fit_the_counter_table() {
        let numbers: BTreeSet<u8> = Verdict::ALL.iter().map(|v| v.number()).collect();
        assert_eq!(numbers.len(), Verdict::ALL.len());
        assert!(numbers.iter().all(|&n| usize::from(n) < 64));
    }

    #[test]
    fn names_say_the_disposition() {
        for verdict in Verdict::ALL {
            let prefix = match verdict.disposition() {
                Disposition::Forward => "forward",
                Disposition::Pass => "pass_",
                Disposition::Reply => "reply_",
                Disposition::Drop => "drop_",
            };
            assert!(verdict.name().starts_with(prefix), "{}", verdict.name());
            assert_eq!(Verdict::from_number(verdict.number()), Some(*verdict));
        }
    }
}
