//! The document of what RFCs ask for is honest: every test that it names exists, every row says
//! how it is met by one of the words that it explains, and what is met is shown.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

const DOCUMENT: &str = "docs/reference/rfc-compliance.md";
const WORDS: [&str; 5] = ["Yes", "By option", "Partly", "No", "n/a"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The Rust files under a folder, with their text.
fn sources(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            found.push((path, text));
        }
    }
    Ok(found)
}

/// Functions of the tests, by name: the modules that they are in.
fn tests() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut tests = BTreeMap::<String, BTreeSet<String>>::new();
    for folder in ["multihome-common/src", "multihome-user/src", "tests/tests"] {
        let folder = root().join(folder);
        for (path, text) in sources(&folder)? {
            let path = path.strip_prefix(&folder)?.with_extension("");
            let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
            let module = parts.join("::");
            for part in text.split("#[test]").skip(1) {
                let name = part.split_once("fn ").and_then(|(_, rest)| {
                    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
                    Some(&rest[..end])
                });
                let modules = tests.entry(name.context("a test without a name")?.to_owned());
                let modules = modules.or_default();
                // A module of tests stands in a file of its own, or at the end of another.
                modules.extend([module.clone(), format!("{module}::tests")]);
            }
        }
    }
    Ok(tests)
}

/// What stands between pairs of this mark.
fn marked(text: &str, mark: char) -> impl Iterator<Item = &str> {
    text.split(mark).skip(1).step_by(2)
}

/// Rows of requirements: number, requirement, how met, test.
fn rows(document: &str) -> Result<Vec<[&str; 4]>> {
    let mut rows = Vec::new();
    for line in document.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        match *cells {
            // The words, and the lines below the heads.
            [_, _] | [_, "---", ..] | [_, "requirement", ..] => {}
            [number, requirement, how, test] => rows.push([number, requirement, how, test]),
            _ => bail!("{DOCUMENT} has a row of {} cells: {line}", cells.len()),
        }
    }
    Ok(rows)
}

#[test]
fn every_test_that_is_named_exists() -> Result<()> {
    let document = fs::read_to_string(root().join(DOCUMENT))?;
    let tests = tests()?;
    let mut named = 0;
    for path in marked(&document, '`').filter(|text| text.contains("::")) {
        let (module, name) = path.rsplit_once("::").context("a module")?;
        ensure!(
            tests
                .get(name)
                .is_some_and(|modules| modules.contains(module)),
            "{DOCUMENT} invents the test {path}"
        );
        named += 1;
    }
    ensure!(named > 50, "{named} tests are named");
    Ok(())
}

#[test]
fn every_golden_row_that_is_quoted_exists() -> Result<()> {
    let document = fs::read_to_string(root().join(DOCUMENT))?;
    // A sentence may go over the end of a line.
    let document = document.replace('\n', " ");
    let rows = sources(&root().join("tests/src/prog_run/rows"))?;
    let mut quoted = 0;
    for part in document.split("golden: \"").skip(1) {
        let (sentence, _) = part.split_once('"').context("an end of the quotation")?;
        let literal = format!("\"{sentence}\"");
        ensure!(
            rows.iter().any(|(_, text)| text.contains(&literal)),
            "{DOCUMENT} invents the golden row {literal}"
        );
        quoted += 1;
    }
    ensure!(quoted > 20, "{quoted} rows are quoted");
    Ok(())
}

#[test]
fn every_requirement_is_answered_and_what_is_met_is_shown() -> Result<()> {
    let document = fs::read_to_string(root().join(DOCUMENT))?;
    let rows = rows(&document)?;
    ensure!(rows.len() > 90, "{} rows", rows.len());
    for [number, requirement, how, test] in rows {
        let word = WORDS.iter().find(|word| {
            let rest = how.strip_prefix(**word);
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
        });
        let word = word.with_context(|| format!("{number}: {how:?} begins with no known word"))?;
        ensure!(
            test == "—" || test.contains("::") || test.contains("golden: \""),
            "{number}: {test:?}"
        );
        ensure!(
            matches!(*word, "No" | "n/a") || test != "—",
            "{number} ({requirement}) is met, but nothing shows it"
        );
    }
    Ok(())
}
