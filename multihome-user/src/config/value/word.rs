//! Settings that are one of a few words.

use std::str::FromStr;

use super::{
    super::{
        Failback, Filtering, HashPolicy, Mode, OnUplinkLoss, OuterTag, Protocol, Unasked, XdpMode,
        suggest,
    },
    FamilyWord, ValueError,
};

/// Finds the value whose name was given.
fn read<T: Copy>(
    what: &'static str,
    given: &str,
    values: &[T],
    name: fn(T) -> &'static str,
) -> Result<T, ValueError> {
    let names = || values.iter().map(|value| name(*value));
    values
        .iter()
        .copied()
        .find(|value| name(*value) == given)
        .ok_or_else(|| ValueError::Word {
            what,
            given: given.into(),
            allowed: names().collect::<Vec<_>>().join(", "),
            suggestion: suggest::closest(given, names()),
        })
}

/// Reads the named variants of a type by their `name`.
macro_rules! words {
    ($type:ident, $what:literal, [$($variant:ident),+]) => {
        impl FromStr for $type {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                read($what, text, &[$(Self::$variant),+], Self::name)
            }
        }
    };
}

// Both translations together are two words.
words!(Mode, "the mode", [Auto, Routed, Nat44, Nptv6]);
words!(XdpMode, "the XDP mode", [Native, Generic]);
words!(
    Filtering,
    "the filtering",
    [AddressAndPortDependent, EndpointIndependent]
);
words!(OuterTag, "the outer tag", [Dot1q, Dot1ad]);
words!(FamilyWord, "the address family", [Ipv4, Ipv6]);
words!(Protocol, "the protocol", [Tcp, Udp]);
words!(HashPolicy, "the hash", [FiveTuple, SrcDst, Src]);
words!(OnUplinkLoss, "on_uplink_loss", [Reset, Hold]);
words!(Failback, "the failback", [Sticky, Immediate]);
words!(Unasked, "unasked", [Kernel, Drop]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_close_are_suggested() {
        let error = "nativ".parse::<XdpMode>().unwrap_err().to_string();
        assert_eq!(
            error,
            "the XDP mode is \"nativ\"; it must be one of: native, generic (did you mean \
             \"native\"?)"
        );
        assert_eq!(
            "nat".parse::<Mode>().unwrap_err().to_string(),
            "the mode is \"nat\"; it must be one of: auto, routed, nat44, nptv6 (did you mean \
             \"nat44\"?)"
        );
    }

    #[test]
    fn a_list_is_no_word() {
        assert_eq!("nptv6".parse(), Ok(Mode::Nptv6));
        assert!("nat44,nptv6".parse::<Mode>().is_err());
    }
}
