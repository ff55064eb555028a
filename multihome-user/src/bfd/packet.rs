//! The BFD Control packet on the wire (RFC 5880 section 4.1), and what a receiver checks before it
//! looks for the session (section 6.8.6).

use std::fmt;

use super::Discard;

/// The mandatory section, which is all that is sent: there is no authentication.
pub const LEN: usize = 24;
/// The least length with an authentication section, whose type and length are two bytes.
const LEN_WITH_AUTHENTICATION: u8 = 26;
const VERSION: u8 = 1;

const POLL: u8 = 1 << 5;
const FINAL: u8 = 1 << 4;
const CONTROL_PLANE_INDEPENDENT: u8 = 1 << 3;
const AUTHENTICATION: u8 = 1 << 2;
const DEMAND: u8 = 1 << 1;
const MULTIPOINT: u8 = 1;

/// The state of a session at one of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Held down by whoever runs that end; says nothing of the path.
    AdminDown = 0,
    /// Down, or just made.
    Down = 1,
    /// The peer is heard, and has not said yet that it hears us.
    Init = 2,
    /// Both ends hear each other.
    Up = 3,
}

impl State {
    /// The word for it in status, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AdminDown => "admin_down",
            Self::Down => "down",
            Self::Init => "init",
            Self::Up => "up",
        }
    }

    const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a session last changed its state, as its end tells it: five bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Diagnostic(u8);

impl Diagnostic {
    /// Nothing to tell.
    pub const NONE: Self = Self(0);
    /// Nothing was heard of the peer for the detection time.
    pub const DETECTION_TIME_EXPIRED: Self = Self(1);
    /// The peer said that the session is down.
    pub const NEIGHBOR_SIGNALED_DOWN: Self = Self(3);
    /// Whoever runs this end took the session down.
    pub const ADMINISTRATIVELY_DOWN: Self = Self(7);

    /// The number on the wire.
    pub const fn code(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbor signaled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            code => return write!(f, "diagnostic {code}"),
        })
    }
}

/// A BFD Control packet. Intervals are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlPacket {
    /// Why the sender's session last changed its state.
    pub diagnostic: Diagnostic,
    /// The sender's state of the session.
    pub state: State,
    /// The sender asks for an answer at once.
    pub poll: bool,
    /// The sender answers such a question.
    pub final_: bool,
    /// The sender's BFD lives on when its control plane dies.
    pub control_plane_independent: bool,
    /// An authentication section follows; it is not read.
    pub authentication: bool,
    /// The sender wants no periodic packets while the session is up.
    pub demand: bool,
    /// How many of its packets the receiver may miss.
    pub detect_mult: u8,
    /// The sender's name for the session; never zero.
    pub my_discriminator: u32,
    /// The receiver's name for it, zero while the sender does not know it.
    pub your_discriminator: u32,
    /// The shortest interval at which the sender would like to send.
    pub desired_min_tx: u32,
    /// The shortest interval at which the sender can receive; zero for "no periodic packets".
    pub required_min_rx: u32,
    /// The same for echo packets; zero for none at all.
    pub required_min_echo_rx: u32,
}

impl ControlPacket {
    /// The bytes, without an authentication section.
    pub fn encode(&self) -> [u8; LEN] {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut bytes = [0; LEN];
        bytes[0] = VERSION << 5 | self.diagnostic.0 & 0x1f;
        bytes[1] = (self.state as u8) << 6
            | bit(self.poll, POLL)
            | bit(self.final_, FINAL)
            | bit(self.control_plane_independent, CONTROL_PLANE_INDEPENDENT)
            | bit(self.authentication, AUTHENTICATION)
            | bit(self.demand, DEMAND);
        bytes[2] = self.detect_mult;
        bytes[3] = LEN as u8;
        let words = [
            self.my_discriminator,
            self.your_discriminator,
            self.desired_min_tx,
            self.required_min_rx,
            self.required_min_echo_rx,
        ];
        for (place, word) in bytes[4..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// Reads the payload of a datagram, with those checks of RFC 5880 section 6.8.6 that need no
    /// session, in its order. What lies behind the packet's own length is ignored.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn decode(payload: &[u8]) -> Result<Self, Discard> {
        let first = payload.first().ok_or(Discard::Length)?;
        if first >> 5 != VERSION {
            return Err(Discard::Version);
        }
        let fixed: &[u8; LEN] = payload.first_chunk().ok_or(Discard::Length)?;
        let [_, flags, detect_mult, length, ..] = *fixed;
        let authentication = flags & AUTHENTICATION != 0;
        let least = if authentication {
            LEN_WITH_AUTHENTICATION
        } else {
            LEN as u8
        };
        if length < least || usize::from(length) > payload.len() {
            return Err(Discard::Length);
        }
        if detect_mult == 0 {
            return Err(Discard::DetectMult);
        }
        if flags & MULTIPOINT != 0 {
            return Err(Discard::Multipoint);
        }
        let word = |n: usize| {
            let at = 4 + 4 * n;
            u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]])
        };
        if word(0) == 0 {
            return Err(Discard::MyDiscriminator);
        }
        Ok(Self {
            diagnostic: Diagnostic(first & 0x1f),
            state: State::from_bits(flags >> 6),
            poll: flags & POLL != 0,
            final_: flags & FINAL != 0,
            control_plane_independent: flags & CONTROL_PLANE_INDEPENDENT != 0,
            authentication,
            demand: flags & DEMAND != 0,
            detect_mult,
            my_discriminator: word(0),
            your_discriminator: word(1),
            desired_min_tx: word(2),
            required_min_rx: word(3),
            required_min_echo_rx: word(4),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub fn packet() -> ControlPacket {
        ControlPacket {
            diagnostic: Diagnostic::DETECTION_TIME_EXPIRED,
            state: State::Init,
            poll: true,
            final_: false,
            control_plane_independent: false,
            authentication: false,
            demand: false,
            detect_mult: 3,
            my_discriminator: 0x0102_0304,
            your_discriminator: 0x1112_1314,
            desired_min_tx: 1_000_000,
            required_min_rx: 10_000,
            required_min_echo_rx: 0,
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_standard() {
        let bytes = packet().encode();
        assert_eq!(
            bytes,
            [
                0x21, 0xa0, 3, 24, 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0, 0x0f, 0x42, 0x40, 0, 0,
                0x27, 0x10, 0, 0, 0, 0
            ]
        );
        assert_eq!(ControlPacket::decode(&bytes), Ok(packet()));
    }

    #[test]
    fn a_packet_of_another_version_is_discarded_first() {
        for version in [0, 2, 7] {
            let mut bytes = packet().encode();
            bytes[0] = version << 5;
            bytes[2] = 0;
            assert_eq!(ControlPacket::decode(&bytes), Err(Discard::Version));
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_discarded() {
        let whole = packet().encode();
        for (length, authentication, bytes) in [
            (23, false, 24),
            (25, true, 26),
            (24, true, 24),
            (25, false, 24),
            (255, false, 26),
            (24, false, 23),
            (24, false, 1),
        ] {
            let mut payload = whole.to_vec();
            payload.resize(bytes, 0);
            if let Some(place) = payload.get_mut(3) {
                *place = length;
            }
            if let (Some(flags), true) = (payload.get_mut(1), authentication) {
                *flags |= AUTHENTICATION;
            }
            let got = ControlPacket::decode(&payload);
            assert_eq!(
                got,
                Err(Discard::Length),
                "{length} {authentication} {bytes}"
            );
        }
        assert_eq!(ControlPacket::decode(&[]), Err(Discard::Length));
        // What follows the packet is none of its own.
        let mut longer = whole.to_vec();
        longer.extend([0xff; 9]);
        assert_eq!(ControlPacket::decode(&longer), Ok(packet()));
    }

    #[test]
    fn a_detection_multiplier_of_zero_is_discarded() {
        let mut bytes = packet().encode();
        bytes[2] = 0;
        bytes[1] |= MULTIPOINT;
        assert_eq!(ControlPacket::decode(&bytes), Err(Discard::DetectMult));
    }

    #[test]
    fn a_multipoint_packet_is_discarded() {
        let mut bytes = packet().encode();
        bytes[1] |= MULTIPOINT;
        bytes[4..8].fill(0);
        assert_eq!(ControlPacket::decode(&bytes), Err(Discard::Multipoint));
    }

    #[test]
    fn a_sender_without_a_discriminator_is_discarded() {
        let mut bytes = packet().encode();
        bytes[4..8].fill(0);
        assert_eq!(ControlPacket::decode(&bytes), Err(Discard::MyDiscriminator));
    }

    #[test]
    fn the_authentication_bit_is_told() {
        let mut bytes = packet().encode().to_vec();
        bytes[1] |= AUTHENTICATION;
        bytes[3] = 26;
        bytes.extend([1, 2]);
        let read = ControlPacket::decode(&bytes).expect("a whole packet");
        assert!(read.authentication);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_what_is_read_is_what_was_sent(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            sane in any::<bool>(),
        ) {
            let mut bytes = bytes;
            if sane && bytes.len() >= LEN {
                bytes[0] = VERSION << 5 | bytes[0] & 0x1f;
                bytes[1] &= !(MULTIPOINT | AUTHENTICATION);
                bytes[3] = LEN as u8;
            }
            if let Ok(packet) = ControlPacket::decode(&bytes) {
                prop_assert_eq!(ControlPacket::decode(&packet.encode()).is_ok(), !packet.authentication);
                if !packet.authentication {
                    prop_assert_eq!(ControlPacket::decode(&packet.encode()), Ok(packet));
                    prop_assert_eq!(&packet.encode()[..3], &bytes[..3]);
                }
            }
        }
    }
}
