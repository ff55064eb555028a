//! The `multihome` command: reads the command line, does what it says, and turns errors into one
//! message and an exit code.

use std::{
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    time::SystemTime,
};

use clap::Parser as _;
use multihome::{
    cli::{
        Cli, Command, DetachArgs, DrainArgs, EventsArgs, ExplainArgs, FaultArgs, FlowsArgs,
        PrefixArgs, RunArgs, StatusArgs, UndrainArgs,
    },
    config::{Config, check_ports},
    control::{
        client::{self, ControlError},
        protocol::{Request, Response},
        socket_path,
    },
    dataplane, delegation, domains, drain as drains,
    events::{
        command::{self as events, Shown},
        journal,
    },
    exit::{self, Classify, ExitClass},
    explain, fault, flows, hooks, kernel_ports, logging,
    netlink::NetlinkError,
    routes, run,
    run_dir::RunDir,
    status,
};
use thiserror::Error;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => start(&args),
        Command::Status(args) => show_status(&args),
        Command::Flows(args) => list_flows(&args),
        Command::Explain(args) => explain_packet(&args),
        Command::Events(args) => show_events(&args),
        Command::Prefix(args) => prefix(&args),
        Command::Drain(args) => drain(&args),
        Command::Undrain(args) => undrain(&args),
        Command::Fault(args) => inject_fault(&args),
        Command::Detach(args) => detach(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(error)) => {
            // Nothing can be done when standard error is closed.
            let _ = writeln!(io::stderr(), "{}", exit::message(&*error));
            error.exit_class().into()
        }
    }
}

/// Any error that ends the program.
struct Failure(Box<dyn Classify>);

impl<E: Classify + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

/// What can fail in this file itself.
#[derive(Debug, Error)]
enum CommandError {
    #[error("cannot start the control loop")]
    Runtime(#[source] io::Error),
    #[error("cannot remove the journal of events")]
    Journal(#[source] io::Error),
    #[error("the gateway's routes and rules are not removed")]
    Routes(#[source] NetlinkError),
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    #[error("--for needs a fault: --blackhole, or --loss PERCENT")]
    NoFault,
}

impl Classify for CommandError {
    fn exit_class(&self) -> ExitClass {
        match self {
            Self::Runtime(_) | Self::Output(_) | Self::Journal(_) | Self::Routes(_) => {
                ExitClass::Runtime
            }
            Self::NoFault => ExitClass::Input,
        }
    }
}

fn start(args: &RunArgs) -> Result<(), Failure> {
    logging::init(args.log.as_deref(), args.verbose)?;
    let config = Config::load(args.config.as_deref(), args.flags())?;
    if args.check {
        check_ports(&config, kernel_ports::read()?)?;
        run::check_kinds(&config)?;
        hooks::check(&config)?;
        let advice = config.advice();
        let remarks = advice
            .iter()
            .map(|sentence| format!("# Warning: {sentence}.\n"));
        return print(&(remarks.collect::<String>() + &config.to_toml()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CommandError::Runtime)?;
    Ok(runtime.block_on(run::run(config))?)
}

fn show_status(args: &StatusArgs) -> Result<(), Failure> {
    let Response::Status(status) = client::request(&args.run_dir, &Request::Status {})? else {
        return Err(ControlError::NoAnswer(socket_path(&args.run_dir)).into());
    };
    if args.json {
        let text = serde_json::to_string(&status).expect("maps with text keys are always JSON");
        print(&format!("{text}\n"))
    } else {
        print(&status::render(
            &status,
            status::timestamp(SystemTime::now()),
        ))
    }
}

fn list_flows(args: &FlowsArgs) -> Result<(), Failure> {
    Ok(flows::list(
        &args.run_dir,
        &args.query(),
        io::stdout().lock(),
    )?)
}

fn explain_packet(args: &ExplainArgs) -> Result<(), Failure> {
    let answer = explain::of_gateway(&args.run_dir, &args.query())?;
    let text = if args.json {
        serde_json::to_string(&answer).expect("plain data is always JSON") + "\n"
    } else {
        explain::render(&answer)
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::Output(error).into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn show_events(args: &EventsArgs) -> Result<(), Failure> {
    let query = args.query(SystemTime::now());
    let out = io::stdout().lock();
    let said = match events::show(&args.run_dir, &query, args.json, out)? {
        Shown::All | Shown::OutputClosed => None,
        Shown::ControllerEnded => Some("the controller has ended"),
        Shown::Left => Some("no controller runs; these events were left by the last one"),
    };
    if let Some(said) = said {
        // Nothing can be done when standard error is closed.
        let _ = writeln!(io::stderr(), "{said}");
    }
    Ok(())
}

fn prefix(args: &PrefixArgs) -> Result<(), Failure> {
    use delegation::command;
    let said = match (&args.uplink, args.prefix) {
        (Some(uplink), Some(delegation)) => command::tell(&args.run_dir, uplink, delegation)?,
        (uplink, _) => command::show(&args.run_dir, uplink.as_ref())?,
    };
    print(&said)
}

fn drain(args: &DrainArgs) -> Result<(), Failure> {
    let time = args.time.map(|time| time.0);
    print(&drains::command::drain(&args.run_dir, &args.uplink, time)?)
}

fn undrain(args: &UndrainArgs) -> Result<(), Failure> {
    print(&drains::command::undrain(&args.run_dir, &args.uplink)?)
}

fn inject_fault(args: &FaultArgs) -> Result<(), Failure> {
    let asked = args.asked().ok_or(CommandError::NoFault)?;
    print(&fault::run(&args.run_dir, asked)?)
}

/// Has a running controller detach; without one, does it here.
fn detach(args: &DetachArgs) -> Result<(), Failure> {
    match client::request(&args.run_dir, &Request::Detach {}) {
        Ok(_) => print("everything is taken off the devices, and the controller has ended\n"),
        Err(ControlError::NotRunning(_)) => detach_here(&args.run_dir),
        Err(error) => Err(error.into()),
    }
}

fn detach_here(path: &Path) -> Result<(), Failure> {
    if !path.exists() {
        // Routes and rules lie in the kernel alone.
        let freed = routes::remove_all().map_err(CommandError::Routes)?;
        if freed > 0 {
            print(&format!("routes and rules removed: {freed}\n"))?;
        }
        return print(&format!(
            "nothing was attached: there is no {}\n",
            path.display()
        ));
    }
    // Held, so that no controller starts meanwhile.
    let run_dir = RunDir::take(path)?;
    let detached = dataplane::detach(path)?;
    let freed = routes::remove_all().map_err(CommandError::Routes)?;
    delegation::file::remove(&run_dir)?;
    journal::remove(run_dir.path()).map_err(CommandError::Journal)?;
    drains::file::remove(&run_dir)?;
    domains::file::remove(&run_dir)?;
    if let Err(error) = run_dir.remove() {
        // Harmless: the next controller uses it as it is.
        print(&format!(
            "{} could not be removed: {error}\n",
            path.display()
        ))?;
    }
    print(&format!(
        "programs taken off devices: {}; maps removed: {}; routes and rules removed: {freed}\n",
        detached.devices, detached.maps
    ))
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A reader that closed early, such as `head`, has what it wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::Output(error).into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
