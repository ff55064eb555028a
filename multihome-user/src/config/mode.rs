//! What an uplink does with addresses: one mode as it is written, one answer for each family.

/// What an uplink does with the addresses of the packets it carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// What each family needs: see [`Mode4::Auto`] and [`Mode6::Auto`].
    #[default]
    Auto,
    /// Nothing: the LAN's addresses are routed to this gateway.
    Routed,
    /// IPv4 is translated, IPv6 is as with `Auto`.
    Nat44,
    /// IPv6 is translated, IPv4 is as with `Auto`.
    Nptv6,
    /// Both families are translated.
    Nat44Nptv6,
}

/// What an uplink does with IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode4 {
    /// `Nat44` when the LAN's prefixes are private (RFC 1918, RFC 6598), else `Routed`.
    Auto,
    /// Nothing.
    Routed,
    /// Inside address and port become outside address and port.
    Nat44,
}

/// What an uplink does with IPv6 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode6 {
    /// `Nptv6` when the uplink has a prefix, else `Routed`.
    Auto,
    /// Nothing.
    Routed,
    /// The LAN's prefix becomes the uplink's (RFC 6296).
    Nptv6,
}

impl Mode {
    /// The word for it in status, metrics and errors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Routed => "routed",
            Self::Nat44 => "nat44",
            Self::Nptv6 => "nptv6",
            Self::Nat44Nptv6 => "nat44,nptv6",
        }
    }

    /// What is done with IPv4 addresses.
    pub const fn ipv4(self) -> Mode4 {
        match self {
            Self::Auto | Self::Nptv6 => Mode4::Auto,
            Self::Routed => Mode4::Routed,
            Self::Nat44 | Self::Nat44Nptv6 => Mode4::Nat44,
        }
    }

    /// What is done with IPv6 addresses.
    pub const fn ipv6(self) -> Mode6 {
        match self {
            Self::Auto | Self::Nat44 => Mode6::Auto,
            Self::Routed => Mode6::Routed,
            Self::Nptv6 | Self::Nat44Nptv6 => Mode6::Nptv6,
        }
    }

    /// This mode and another one of the same list, if they go together.
    pub(super) fn with(self, other: Self) -> Option<Self> {
        let both = [self, other];
        (both == [Self::Nat44, Self::Nptv6] || both == [Self::Nptv6, Self::Nat44])
            .then_some(Self::Nat44Nptv6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Mode; 5] = [
        Mode::Auto,
        Mode::Routed,
        Mode::Nat44,
        Mode::Nptv6,
        Mode::Nat44Nptv6,
    ];

    #[test]
    fn each_family_has_its_answer() {
        let answers = ALL.map(|mode| (mode.ipv4(), mode.ipv6()));
        assert_eq!(
            answers,
            [
                (Mode4::Auto, Mode6::Auto),
                (Mode4::Routed, Mode6::Routed),
                (Mode4::Nat44, Mode6::Auto),
                (Mode4::Auto, Mode6::Nptv6),
                (Mode4::Nat44, Mode6::Nptv6),
            ]
        );
    }

    #[test]
    fn only_one_translation_of_each_family_goes_together() {
        for first in ALL {
            for second in ALL {
                let together = (first == Mode::Nat44 && second == Mode::Nptv6)
                    || (first == Mode::Nptv6 && second == Mode::Nat44);
                assert_eq!(
                    first.with(second),
                    together.then_some(Mode::Nat44Nptv6),
                    "{first:?} and {second:?}"
                );
            }
        }
    }
}
