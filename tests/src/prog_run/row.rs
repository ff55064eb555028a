//! One row of a golden table, and how it is checked.

use anyhow::Result;
use multihome_common::verdict::{Disposition, Verdict};

use super::{
    kernel::{Kernel, Run},
    world::{Side, World},
};

/// XDP actions (linux/bpf.h).
pub const XDP_DROP: u32 = 1;
/// To the kernel's stack.
pub const XDP_PASS: u32 = 2;
/// Out of a device of the map of devices; an answer leaves by the one that it came in on.
pub const XDP_REDIRECT: u32 = 4;

/// One row.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it shows, in a sentence.
    pub shows: String,
    /// The program.
    pub side: Side,
    /// What the programs are told.
    pub world: World,
    /// Packets that go before, and what side they come in on.
    pub before: Vec<(Side, Vec<u8>)>,
    /// What the programs are told while those pass, if it is not the same.
    pub earlier: Option<World>,
    /// The packet in.
    pub input: Vec<u8>,
    /// The verdict.
    pub verdict: Verdict,
    /// The uplink that it is forwarded to, where that matters.
    pub uplink: Option<u8>,
    /// The packet out.
    pub output: Vec<u8>,
}

impl Row {
    /// A row whose packet stays as it is.
    pub fn unchanged(shows: &str, side: Side, input: Vec<u8>, verdict: Verdict) -> Self {
        let output = input.clone();
        Self::changed(shows, side, input, verdict, output)
    }

    /// A row whose packet becomes another.
    pub fn changed(
        shows: &str,
        side: Side,
        input: Vec<u8>,
        verdict: Verdict,
        output: Vec<u8>,
    ) -> Self {
        let (shows, world) = (shows.to_owned(), World::default());
        Self {
            shows,
            side,
            world,
            before: Vec::new(),
            earlier: None,
            input,
            verdict,
            uplink: None,
            output,
        }
    }

    /// The same row in another world.
    pub fn within(mut self, edit: impl FnOnce(&mut World)) -> Self {
        edit(&mut self.world);
        self
    }

    /// The same row after another packet.
    pub fn after(mut self, side: Side, packet: Vec<u8>) -> Self {
        self.before.push((side, packet));
        self
    }

    /// The same row, with another world while the packets before it pass.
    pub fn when_before(mut self, edit: impl FnOnce(&mut World)) -> Self {
        let mut world = self.world.clone();
        edit(&mut world);
        self.earlier = Some(world);
        self.world.changed = u64::MAX;
        self
    }

    /// The same row, whose packets all take the full way.
    pub fn anew(&self) -> Self {
        self.clone().within(|world| world.changed = u64::MAX)
    }

    /// The same row, which must choose this uplink.
    pub fn to_uplink(mut self, id: u8) -> Self {
        self.uplink = Some(id);
        self
    }

    /// Runs the row; the inner error says what came out instead.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn check(&self, kernel: &mut Kernel) -> Result<Result<(), String>> {
        self.enter(kernel)?;
        let run = kernel.run(self.side, &self.input)?;
        Ok(self.judge(&run))
    }

    /// Makes the kernel's tables what the row says, packets that go before included.
    ///
    /// # Errors
    /// When a map cannot be written, or a program not run.
    pub fn enter(&self, kernel: &mut Kernel) -> Result<()> {
        let before = self.earlier.as_ref().unwrap_or(&self.world);
        kernel.enter(before, self.side)?;
        if !self.before.is_empty() {
            kernel.prepare(&self.before, before)?;
            kernel.change(&self.world, self.side)?;
        }
        Ok(())
    }

    fn judge(&self, run: &Run) -> Result<(), String> {
        if run.verdict != Some(self.verdict) {
            return Err(format!(
                "verdict {:?} instead of {:?}",
                run.verdict, self.verdict
            ));
        }
        if run.bytes != self.input.len() as u64 {
            return Err(format!(
                "counted {} bytes of {}",
                run.bytes,
                self.input.len()
            ));
        }
        if self.uplink.is_some() && run.uplink != self.uplink {
            return Err(format!(
                "uplink {:?} instead of {:?}",
                run.uplink, self.uplink
            ));
        }
        let action = action(self.verdict);
        if run.action != action {
            return Err(format!("action {} instead of {action}", run.action));
        }
        if run.output != self.output {
            return Err(format!(
                "packet out\n  {:02x?}\ninstead of\n  {:02x?}",
                run.output, self.output
            ));
        }
        Ok(())
    }
}

/// The XDP action of a verdict.
pub fn action(verdict: Verdict) -> u32 {
    match verdict.disposition() {
        Disposition::Forward | Disposition::Reply => XDP_REDIRECT,
        Disposition::Pass => XDP_PASS,
        Disposition::Drop => XDP_DROP,
    }
}
