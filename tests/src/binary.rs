//! The `multihome` program under test.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

/// The program that `MULTIHOME_BINARY` names, else the one that cargo builds now, once a process.
pub fn binary() -> Result<PathBuf> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = BUILT.get() {
        return Ok(path.clone());
    }
    let path = match env::var_os("MULTIHOME_BINARY") {
        Some(path) => PathBuf::from(path),
        None => build()?,
    };
    ensure!(
        path.is_file(),
        "the gateway's program: {} is no file",
        path.display()
    );
    Ok(BUILT.get_or_init(|| path).clone())
}

/// A line of cargo's messages that tells where a program lies.
#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

fn build() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "build",
            "--package",
            "multihome",
            "--message-format",
            "json-render-diagnostics",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo to build the gateway's program")?;
    if !output.status.success() {
        bail!("cargo build --package multihome: {}", output.status);
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        // Other lines tell other things.
        .filter_map(|line| serde_json::from_str::<Artifact>(line).ok())
        .filter(|artifact| artifact.target.name == "multihome")
        .find_map(|artifact| artifact.executable)
        .context("cargo does not tell where it has put the program")
}
