//! The value of `--uplink`: `NAME=DEV[,key=value]...`.

use std::str::FromStr;

use thiserror::Error;

use super::{
    Mode, MssClamp, OuterTag, suggest,
    target::Target,
    value::{
        BfdWord, Device, Gateway, Outside, Quorum, Tier, UplinkName, UplinkPrefix, ValueError,
        Vlan, Weight,
    },
};

/// The keys that may follow name and device.
const KEYS: [&str; 13] = [
    "vlan",
    "outer_tag",
    "pppoe",
    "weight",
    "tier",
    "gateway",
    "mode",
    "outside",
    "prefix",
    "mss_clamp",
    "quorum",
    "probe",
    "bfd",
];

/// Why the value of `--uplink` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UplinkArgError {
    /// A part without `=`.
    #[error("{part:?} is not of the form KEY=VALUE; the keys are {}", KEYS.join(", "), part = .0)]
    NotKeyValue(String),
    /// A key that does not exist.
    #[error(
        "unknown key {key:?}; the keys are {}{}",
        KEYS.join(", "),
        suggest::hint(.suggestion.as_deref())
    )]
    UnknownKey {
        /// The key that was given.
        key: String,
        /// The key that was probably meant.
        suggestion: Option<String>,
    },
    /// A key that may be given once was given again.
    #[error("{0} is given twice")]
    Twice(&'static str),
    /// A value that cannot be used.
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// What one `--uplink` says. Without `=DEV` it changes an uplink of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkArg {
    pub(super) text: String,
    pub(super) name: UplinkName,
    pub(super) device: Option<Device>,
    pub(super) vlan: Option<Vlan>,
    pub(super) outer_tag: Option<OuterTag>,
    pub(super) pppoe: Option<Device>,
    pub(super) weight: Option<Weight>,
    pub(super) tier: Option<Tier>,
    pub(super) modes: Vec<Mode>,
    pub(super) outsides: Vec<Outside>,
    pub(super) prefix: Option<UplinkPrefix>,
    pub(super) mss_clamp: Option<MssClamp>,
    pub(super) gateways: Vec<Gateway>,
    pub(super) quorum: Option<Quorum>,
    pub(super) probes: Vec<Target>,
    pub(super) bfd: Option<BfdWord>,
}

impl FromStr for UplinkArg {
    type Err = UplinkArgError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (head, tail) = match text.split_once(',') {
            Some((head, tail)) => (head, Some(tail)),
            None => (text, None),
        };
        let (name, device) = match head.split_once('=') {
            Some((name, device)) => (name, Some(device.parse()?)),
            None => (head, None),
        };
        let mut arg = Self {
            text: text.into(),
            name: name.parse()?,
            device,
            vlan: None,
            outer_tag: None,
            pppoe: None,
            weight: None,
            tier: None,
            modes: Vec::new(),
            outsides: Vec::new(),
            prefix: None,
            mss_clamp: None,
            gateways: Vec::new(),
            quorum: None,
            probes: Vec::new(),
            bfd: None,
        };
        for part in tail.into_iter().flat_map(|tail| tail.split(',')) {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| UplinkArgError::NotKeyValue(part.into()))?;
            match key {
                "vlan" => set(&mut arg.vlan, "vlan", value)?,
                "outer_tag" => set(&mut arg.outer_tag, "outer_tag", value)?,
                "pppoe" => set(&mut arg.pppoe, "pppoe", value)?,
                "weight" => set(&mut arg.weight, "weight", value)?,
                "tier" => set(&mut arg.tier, "tier", value)?,
                "prefix" => set(&mut arg.prefix, "prefix", value)?,
                "mss_clamp" => set(&mut arg.mss_clamp, "mss_clamp", value)?,
                "bfd" => set(&mut arg.bfd, "bfd", value)?,
                "quorum" => set(&mut arg.quorum, "quorum", value)?,
                "mode" => arg.modes.push(value.parse()?),
                "outside" => arg.outsides.push(value.parse()?),
                "gateway" => arg.gateways.push(value.parse()?),
                "probe" => arg.probes.push(value.parse()?),
                _ => {
                    return Err(UplinkArgError::UnknownKey {
                        key: key.into(),
                        suggestion: suggest::closest(key, KEYS),
                    });
                }
            }
        }
        Ok(arg)
    }
}

/// Reads a key that may be given once.
fn set<T: FromStr<Err = ValueError>>(
    slot: &mut Option<T>,
    key: &'static str,
    value: &str,
) -> Result<(), UplinkArgError> {
    match slot.replace(value.parse()?) {
        Some(_) => Err(UplinkArgError::Twice(key)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_all_keys() {
        let text = "lte=wwan0,vlan=200.100,outer_tag=802.1q,pppoe=ppp0,weight=3,tier=2,gateway=192.0.2.1,gateway=fe80::1,mode=nat44,\
                    mode=nptv6,outside=198.51.100.1,outside=198.51.100.2,prefix=2001:db8:1::/48,\
                    mss_clamp=1400,quorum=2,probe=9.9.9.9,probe=2620:fe::fe,bfd=10msx3";
        let arg: UplinkArg = text.parse().expect("all keys are valid");
        assert_eq!(
            arg,
            UplinkArg {
                text: text.into(),
                name: UplinkName("lte".into()),
                device: Some(Device("wwan0".into())),
                vlan: "200.100".parse().ok(),
                outer_tag: Some(OuterTag::Dot1q),
                pppoe: Some(Device("ppp0".into())),
                weight: Some(Weight(3)),
                tier: Some(Tier(2)),
                modes: vec![Mode::Nat44, Mode::Nptv6],
                outsides: vec![
                    Outside("198.51.100.1".parse().expect("an address")),
                    Outside("198.51.100.2".parse().expect("an address")),
                ],
                prefix: "2001:db8:1::/48".parse().ok(),
                mss_clamp: Some(MssClamp::At(1400)),
                gateways: vec![
                    Gateway("192.0.2.1".parse().expect("an address")),
                    Gateway("fe80::1".parse().expect("an address")),
                ],
                quorum: Some(Quorum(2)),
                probes: vec![
                    "9.9.9.9".parse().expect("a target"),
                    "2620:fe::fe".parse().expect("a target"),
                ],
                bfd: "10msx3".parse().ok(),
            }
        );
    }

    #[test]
    fn may_leave_the_device_to_the_file() {
        let arg: UplinkArg = "lte,weight=9".parse().expect("a name and a key");
        assert_eq!((arg.device, arg.weight), (None, Some(Weight(9))));
    }

    #[test]
    fn explains_each_mistake() {
        let keys = "the keys are vlan, outer_tag, pppoe, weight, tier, gateway, mode, outside, prefix, \
                    mss_clamp, quorum, probe, bfd";
        for (text, message) in [
            (
                "",
                "uplink name \"\" is not 1 to 32 letters, digits, '_', '.' or '-'".into(),
            ),
            (
                "=eth0",
                "uplink name \"\" is not 1 to 32 letters, digits, '_', '.' or '-'".into(),
            ),
            (
                "a=",
                "\"\" cannot be a network device: a name has 1 to 15 bytes, no '/', no ':' and no \
                 space"
                    .into(),
            ),
            (
                "a=eth0,weight=0",
                "the weight is \"0\"; it must be a whole number from 1 to 1000000".into(),
            ),
            (
                "a=eth0,weigth=2",
                format!("unknown key \"weigth\"; {keys} (did you mean \"weight\"?)"),
            ),
            ("a=eth0,zzz=2", format!("unknown key \"zzz\"; {keys}")),
            (
                "a=eth0,5",
                format!("\"5\" is not of the form KEY=VALUE; {keys}"),
            ),
            (
                "a=eth0,",
                format!("\"\" is not of the form KEY=VALUE; {keys}"),
            ),
            ("a=eth0,weight=1,weight=2", "weight is given twice".into()),
            (
                "a=eth0,mode=nat",
                "the mode is \"nat\"; it must be one of: auto, routed, nat44, nptv6 (did you mean \
                 \"nat44\"?)"
                    .into(),
            ),
            (
                "a=eth0,outside=2001:db8::1",
                "\"2001:db8::1\" is not an IPv4 address".into(),
            ),
            (
                "a=eth0,prefix=2001:db8::/48,prefix=2001:db8:1::/48",
                "prefix is given twice".into(),
            ),
        ] {
            assert_eq!(
                text.parse::<UplinkArg>().expect_err(text).to_string(),
                message
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z0-9=,.:äö\u{0}-\u{7f}]{0,60}") {
            let _ = text.parse::<UplinkArg>();
        }
    }
}
