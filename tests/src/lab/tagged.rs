//! Links with tags in labs, where the kernel may have no VLAN devices: the far end of one is a plain device
//! whose frames lose their tags when they come in and get them when they are sent.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::Array,
    programs::{SchedClassifier, TcAttachType, Xdp, XdpMode, tc::qdisc_add_clsact},
};

use super::Namespace;

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("BENCH_OBJECT"));

/// What keeps a veth device from handing tags over beside a frame, where XDP does not see them: as if the NIC
/// at the other end had taken them off.
pub const TAGS_IN_FRAMES: [&str; 4] = ["txvlan", "off", "tx-vlan-stag-hw-insert", "off"];

/// The far end of a link with tags, for as long as it lives.
pub struct Tagged {
    _programs: Ebpf,
}

impl Tagged {
    /// Makes a device one, with these tags as (type, VLAN id), the outer one first. Frames with other tags do
    /// not come in, nor do those without.
    pub fn new(namespace: &Namespace, device: &str, tags: &[(u16, u16)]) -> Result<Self> {
        namespace.offloads(device, &TAGS_IN_FRAMES)?;
        let mut words = [0_u32; 2];
        for (word, (kind, id)) in words.iter_mut().zip(tags) {
            *word = u32::from(*kind) << 16 | u32::from(*id);
        }
        let mut programs = EbpfLoader::new().load(OBJECT)?;
        let map = programs.map_mut("LINK_TAGS").context("no LINK_TAGS")?;
        Array::<_, [u32; 2]>::try_from(map)?.set(0, words, 0)?;
        namespace.enter(|| -> Result<()> {
            let untag: &mut Xdp = programs.program_mut("untag").context("untag")?.try_into()?;
            untag.load()?;
            untag.attach(device, XdpMode::Driver)?;
            let retag = programs.program_mut("retag").context("retag")?;
            let retag: &mut SchedClassifier = retag.try_into()?;
            retag.load()?;
            qdisc_add_clsact(device)?;
            retag.attach(device, TcAttachType::Egress)?;
            Ok(())
        })??;
        Ok(Self {
            _programs: programs,
        })
    }
}
