//! `cargo xtask vm --test NAME`: tests in a virtual machine that has all modules of Debian's full kernel and
//! this machine's files, for what the kernel underneath may lack (VLAN devices, PPP, WireGuard, netem).
//!
//! Cargo builds the tests as always, and starts each file of them through `cargo xtask vm-run`, which boots a
//! machine for it.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::{
    initramfs::{self, Extra},
    kernels::{Kernel, Series},
    modules,
    qemu::{self, Machine},
    report,
};
use crate::{
    bpf_linker, build, run,
    setup::{self, Need},
    test,
};

#[path = "../../../tests/src/vm/job.rs"]
mod job;

use job::Job;

/// A machine that has not ended by then has hung: an emulated CPU is ten to twenty times slower than its host.
const TIME_LIMIT: Duration = Duration::from_secs(3600);

/// How much longer than on a machine a lab may take in a virtual one.
const SLOWNESS: u32 = 8;

/// The variables that a test may see: what is of this machine's owner alone stays out of its log.
const VARIABLES: [&str; 6] = [
    "HOME",
    "LANG",
    "RUST_BACKTRACE",
    "RUST_LOG",
    "RUST_TEST_THREADS",
    "XDG_CACHE_HOME",
];

/// Options of the hidden `cargo xtask vm-run`.
#[derive(Args)]
pub struct Options {
    /// The first program of the machine
    #[arg(long)]
    init: PathBuf,
    /// What to run in it: a program, and its words
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Builds these files of tests and runs each in a machine of its own; `words` go to the test programs.
pub fn test(names: &[String], words: &[String], debug: bool) -> Result<()> {
    super::check_architecture()?;
    setup::ensure(Need::Vm)?;
    // Before anything is built: without it nothing can run.
    Kernel::get(Series::Full)?;
    let gateway = match env::var_os("MULTIHOME_BINARY") {
        Some(binary) => PathBuf::from(binary),
        None => build::compile("multihome", !debug)?,
    };
    let init = build::compile("vm_init", !debug)?;
    let mut cargo = run::cargo("test");
    cargo.arg("--locked");
    for name in names {
        cargo.args(["--test", name]);
    }
    let itself = env::current_exe().context("xtask does not know where it lies")?;
    let runner: [OsString; 4] = [itself.into(), "vm-run".into(), "--init".into(), init.into()];
    cargo.arg("--config").arg(test::runner(&runner)?);
    if !words.is_empty() {
        cargo.arg("--").args(words);
    }
    run::step(cargo.env("MULTIHOME_BINARY", gateway))
}

/// Runs `cargo xtask vm-run`: boots a machine that runs the words, and fails as they do.
pub fn run(options: &Options) -> Result<()> {
    let kernel = Kernel::get(Series::Full)?;
    let modules = kernel.modules()?;
    modules::index(&modules)?;
    let job = job(options, &modules)?;
    let mut extras = vec![Extra::new(job::PLACE, job.to_string())];
    for (number, (name, content)) in modules::boot(&modules)?.into_iter().enumerate() {
        let place = format!("{}/{number:02}-{name}.ko", job::BOOT_MODULES);
        extras.push(Extra::new(place, content));
    }
    // One for each run: two may be under way.
    let initramfs = format!("multihome-initramfs-{}.cpio", std::process::id());
    let initramfs = run::target_dir().join(initramfs);
    initramfs::pack(&options.init, &extras, &initramfs).context("packing the initramfs")?;
    let machine = Machine {
        kernel: &kernel.image,
        initramfs: &initramfs,
        memory: 3072,
        cpus: 2,
        share: Some(job::SHARE),
    };
    println!("vm: booting {}", kernel.release);
    let mut code = None;
    let mut trouble = None;
    let ended = qemu::boot(&machine, TIME_LIMIT, |console| {
        match report::Line::read(console) {
            Some(report::Line::Done(ended)) => code = Some(ended),
            Some(report::Line::Error(text)) => trouble = Some(text),
            Some(_) => {}
            None => println!("{console}"),
        }
    });
    drop(std::fs::remove_file(&initramfs));
    ended?;
    match (code, trouble) {
        (Some(0), None) => Ok(()),
        (_, Some(trouble)) => bail!("in the virtual machine: {trouble}"),
        (Some(code), None) => bail!("in the virtual machine, it ended with exit code {code}"),
        (None, None) => bail!(
            "the virtual machine ended, or was stopped after {} s, before the test did",
            TIME_LIMIT.as_secs()
        ),
    }
}

/// What the machine is to run, with as much of this environment as a test needs.
fn job(options: &Options, modules: &Path) -> Result<Job> {
    let mut environment = vec![(
        "PATH".to_owned(),
        run::tool_path().to_string_lossy().into_owned(),
    )];
    for (name, value) in env::vars_os() {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else {
            continue;
        };
        let wanted = VARIABLES.contains(&name)
            || name.starts_with("MULTIHOME_")
            || name.starts_with("CARGO_MANIFEST_");
        if wanted && !value.contains('\n') {
            environment.push((name.to_owned(), value.to_owned()));
        }
    }
    environment.push(("MULTIHOME_LAB_SLOWNESS".to_owned(), SLOWNESS.to_string()));
    let directory = env::current_dir().context("there is no current directory")?;
    let program = Path::new(&options.words[0]).to_owned();
    let cache = bpf_linker::cache_dir().context("neither XDG_CACHE_HOME nor HOME is set")?;
    let gateway = env::var_os("MULTIHOME_BINARY").map(PathBuf::from);
    let needed = [&directory, &program, &cache].into_iter().chain(&gateway);
    Ok(Job {
        host_tmp: Job::needs_host_tmp(needed.map(PathBuf::as_path)),
        words: options.words.clone(),
        environment,
        directory,
        modules: modules.to_owned(),
    })
}
