//! The command line: what an operator starts the host with.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::app::App;
use crate::config::{self, Config};
use crate::db::Db;
use crate::http::{self, auth};
use crate::model::Scope;
use crate::{clock, telemetry};

/// BSD's `EX_USAGE`: the command line or the configuration is wrong.
const EXIT_CONFIG: u8 = 64;
/// What a shell reports after SIGINT.
const EXIT_SECOND_SIGNAL: i32 = 130;

#[derive(Parser)]
#[command(
    name = "dunnage",
    version,
    about = "A self-hosted function platform, extended by WebAssembly components."
)]
struct Arguments {
    /// The configuration file; each key is explained in examples/dunnage.toml.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the HTTP API (the default).
    Serve {
        /// Start even where the container engine ignores limits.
        #[arg(long)]
        allow_unlimited: bool,
    },
    /// Bring the database's schema up to this program's version.
    Migrate,
    /// Print the configuration that is in force, without its secrets.
    CheckConfig,
    /// Make, list and revoke the tokens of the HTTP API.
    #[command(subcommand)]
    Token(TokenCommand),
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Make a token and print it, once.
    Create {
        #[arg(long)]
        name: String,
        /// admin, deploy, invoke, read; several with commas.
        #[arg(long, value_delimiter = ',', required = true)]
        scopes: Vec<Scope>,
        /// How long it is good for: 30d, 12h.
        #[arg(long, value_parser = humantime::parse_duration)]
        expires: Option<Duration>,
    },
    /// List the tokens; never what they are.
    List,
    /// Revoke a token for good.
    Revoke { name: String },
}

/// Runs the program; the exit code is 0, 1 for what failed, 64 for a wrong configuration.
pub async fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_CONFIG) } else { ExitCode::SUCCESS };
        }
    };
    let environment = |name: &str| std::env::var(name).ok();
    let file = arguments.config.or_else(|| environment("DUNNAGE_CONFIG").map(PathBuf::from));
    let config = match Config::load(file.as_deref(), &environment) {
        Ok(config) => config,
        Err(error) => return fail(&error, EXIT_CONFIG),
    };
    let result = match arguments.command.unwrap_or(Command::Serve { allow_unlimited: false }) {
        Command::Serve { allow_unlimited } => serve(config, allow_unlimited).await,
        Command::Migrate => migrate(&config).await,
        Command::CheckConfig => check_config(&config),
        Command::Token(command) => token(&config, command).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<config::Error>() => fail(error.as_ref(), EXIT_CONFIG),
        Err(error) => fail(error.as_ref(), 1),
    }
}

type CommandResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn serve(mut config: Config, allow_unlimited: bool) -> CommandResult {
    config.allow_unlimited |= allow_unlimited;
    telemetry::start(config.log_format);
    let listener = tokio::net::TcpListener::bind(config.listen).await.map_err(|error| {
        format!("{} cannot be listened on: {error}; set PORT or DUNNAGE_LISTEN to a free one", config.listen)
    })?;
    let app = App::start(config).await?;
    tokio::spawn(stop_on_signals(app.shutdown.clone())?);
    tracing::info!(address = %listener.local_addr()?, "Ready.");
    http::serve(app.clone(), listener).await;
    app.stop().await;
    tracing::info!("Stopped.");
    Ok(())
}

/// The first SIGTERM or SIGINT drains, the second ends the program at once. The handlers are in
/// place when this returns; the future waits for the signals.
fn stop_on_signals(
    shutdown: tokio_util::sync::CancellationToken,
) -> std::io::Result<impl Future<Output = ()> + Send> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("Stopping: requests under way are finished; a second signal ends at once.");
        shutdown.cancel();
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        std::process::exit(EXIT_SECOND_SIGNAL);
    })
}

async fn migrate(config: &Config) -> CommandResult {
    let db = Db::connect(config.database_url().expose()).await?;
    db.migrate().await?;
    println!("The schema is up to date.");
    Ok(())
}

fn check_config(config: &Config) -> CommandResult {
    print!("{}", serde_json::to_string_pretty(config)? + "\n");
    Ok(())
}

async fn token(config: &Config, command: TokenCommand) -> CommandResult {
    let db = Db::connect(config.database_url().expose()).await?;
    db.check_schema().await?;
    let now = clock::now_millis();
    match command {
        TokenCommand::Create { name, scopes, expires } => {
            let token = auth::mint_token();
            let expires_at =
                expires.map(|d| now.saturating_add(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)));
            db.create_token(&name, &auth::hash_token(token.expose()), &scopes, expires_at).await?;
            println!("{}", token.expose());
        }
        TokenCommand::List => {
            for token in db.tokens().await? {
                let scopes: Vec<_> = token.scopes.iter().map(|s| s.as_str()).collect();
                let state = match (token.revoked_at, token.expires_at) {
                    (Some(_), _) => "revoked",
                    (None, Some(at)) if at <= now => "expired",
                    _ => "valid",
                };
                println!("{}\t{}\t{state}", token.name, scopes.join(","));
            }
        }
        TokenCommand::Revoke { name } => {
            if !db.revoke_token(&name, now).await? {
                return Err(format!("there is no token {name:?} that could be revoked").into());
            }
            println!("Revoked {name}.");
        }
    }
    Ok(())
}

/// Prints the error with its causes, as one sentence.
fn fail(error: &(dyn std::error::Error + 'static), code: u8) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    eprintln!("dunnage: {text}");
    ExitCode::from(code)
}
