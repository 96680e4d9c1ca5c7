//! Every bound of the host in one place, its unit in the name. What an operator may change is in
//! `config`; these hold whatever the configuration says.

use std::time::Duration;

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;

// Connections.
pub const CONNECTIONS_MAX: usize = 4096;
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
pub const HEADER_BYTES_MAX: usize = 64 * KIB;
pub const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
pub const JSON_BODY_BYTES_MAX: usize = 256 * KIB;
pub const REQUEST_ID_BYTES_MAX: usize = 128;
pub const HEADERS_MAX: usize = 100;
/// A client that takes nothing of its answer for this long is cut off.
pub const WRITE_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// What is still read of a body that was refused, so that the client gets to read why.
pub const REFUSED_BODY_DRAIN_BYTES_MAX: usize = 32 * MIB;
pub const REFUSED_BODY_DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Between attempts to accept while the machine is out of something, doubled each time.
pub const ACCEPT_BACKOFF_MIN: Duration = Duration::from_millis(10);
pub const ACCEPT_BACKOFF_MAX: Duration = Duration::from_secs(1);

// The API.
pub const READY_CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// The checks are made once in this time, however many ask.
pub const READY_KEPT: Duration = Duration::from_secs(1);
pub const PAGE_ROWS_DEFAULT: u64 = 100;
pub const PAGE_ROWS_MAX: u64 = 1_000;
/// Clients that follow logs at once: each has the database asked again and again.
pub const FOLLOWERS_MAX: usize = 64;
pub const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);
/// Rows are written in batches, so that one may come later than a younger one.
pub const FOLLOW_OVERLAP: Duration = Duration::from_secs(15);
/// Uploads and the deploys that follow: each has a tree on the disk.
pub const DEPLOYS_CONCURRENT_MAX: usize = 16;
pub const DEPLOY_EVENT_CHANNEL: usize = 1_024;
/// Of what a client sent, as far as an answer repeats it.
pub const ECHO_CHARS_MAX: usize = 100;

// Archives.
pub const ARCHIVE_BYTES_MAX: u64 = 128 * MIB as u64;
pub const UNPACKED_BYTES_MAX: u64 = 512 * MIB as u64;
/// The archive, the other fields and what multipart puts around them.
pub const DEPLOY_BODY_BYTES_MAX: u64 = ARCHIVE_BYTES_MAX + MIB as u64;
pub const ARCHIVE_FILES_MAX: usize = 20_000;
pub const PATH_BYTES_MAX: usize = 1024;
pub const PATH_DEPTH_MAX: usize = 32;
pub const CONFIG_FIELD_BYTES_MAX: usize = 64 * KIB;
pub const LABELS_MAX: usize = 64;
pub const LABEL_BYTES_MAX: usize = 256;
pub const ENVIRONMENT_MAX: usize = 128;
pub const ENVIRONMENT_VALUE_BYTES_MAX: usize = 32 * KIB;
pub const MARKER_TEXT_BYTES_MAX: u64 = 64 * KIB as u64;
pub const PATH_COMPONENT_BYTES_MAX: usize = 255;
/// One PAX header or GNU long name.
pub const TAR_EXTENSION_BYTES_MAX: u64 = 256 * KIB as u64;
/// All of a tar, its headers and padding included.
pub const TAR_BYTES_MAX: u64 = UNPACKED_BYTES_MAX + ARCHIVE_FILES_MAX as u64 * 4 * KIB as u64;
/// A zip's directory is held in memory.
pub const ZIP_DIRECTORY_BYTES_MAX: u64 = 16 * MIB as u64;
/// Chunks in which bytes go from and to threads that may block, and how many wait.
pub const CHUNK_BYTES: usize = 64 * KIB;
pub const CHUNKS_WAITING: usize = 8;
/// What stands between two fields of a multipart body.
pub const FIELD_HEAD_BYTES_MAX: usize = 16 * KIB;
pub const TARGET_FIELD_BYTES_MAX: usize = 256;
pub const LANGUAGE_BYTES_MAX: usize = 64;
pub const ENTRYPOINT_BYTES_MAX: usize = 1024;
pub const ENVIRONMENT_NAME_BYTES_MAX: usize = 256;
/// What of a client's name or path an error shows.
pub const SHOWN_TEXT_CHARS_MAX: usize = 200;

// Plans and builds.
pub const DOCKERFILE_BYTES_MAX: usize = 64 * KIB;
pub const PLAN_FILES_MAX: usize = 64;
pub const PLAN_BYTES_MAX: usize = MIB;
pub const PLAN_IGNORE_LINES_MAX: usize = 256;
pub const PLAN_BUILD_ARGS_MAX: usize = 64;
pub const BUILD_TIMEOUT: Duration = Duration::from_secs(600);
pub const BUILD_MEMORY_BYTES: u64 = 1024 * MIB as u64;
pub const BUILD_LOG_BYTES_MAX: usize = 256 * KIB;
pub const BUILD_LOG_LINE_BYTES_MAX: usize = 4 * KIB;
pub const BUILD_LOG_CHANNEL_LINES: usize = 256;
/// How often images are listed anew when one goes away meanwhile.
pub const IMAGE_LIST_ATTEMPTS: u32 = 10;
pub const IMAGE_LIST_RETRY_DELAY: Duration = Duration::from_millis(100);
pub const BUILDS_CONCURRENT_MAX: usize = 2;
/// Lines of a build's or function's output that a problem shows.
pub const PROBLEM_LOG_LINES: usize = 40;
/// Another host's deploy that began longer ago than this is taken for dead.
pub const INTENT_STALE: Duration = Duration::from_secs(24 * 3600);

// The container engine.
pub const ENGINE_PING_TIMEOUT: Duration = Duration::from_secs(2);
pub const ENGINE_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
pub const ENGINE_ANSWER_BYTES_MAX: usize = 16 * MIB;
pub const ENGINE_REMOVE_ATTEMPTS: u32 = 6;
pub const ENGINE_REMOVE_INTERVAL: Duration = Duration::from_millis(100);
pub const ENGINE_MESSAGE_CHARS_MAX: usize = 2048;
/// One line of JSON in the answer to a build.
pub const BUILD_EVENT_BYTES_MAX: usize = MIB;
/// From a build's time being up to its processes being gone.
pub const BUILD_KILL_TIMEOUT: Duration = Duration::from_secs(10);
pub const OUTPUT_CHUNK_BYTES_MAX: usize = 64 * KIB;
pub const OUTPUT_FRAME_BYTES_MAX: usize = MIB;
pub const OUTPUT_CHANNEL_CHUNKS: usize = 16;
/// What a container that has ended wrote is delivered for this long, then dropped.
pub const OUTPUT_AFTER_EXIT_TIMEOUT: Duration = Duration::from_secs(2);
/// From a container's end to the engine telling its exit code.
pub const EXIT_CODE_TIMEOUT: Duration = Duration::from_secs(5);
pub const KILLED_EXIT_TIMEOUT: Duration = Duration::from_secs(2);
pub const CGROUP_FILE_BYTES_MAX: u64 = 64 * KIB as u64;
pub const CONTAINER_FILES_MAX: u64 = 1024;
/// All containers share one user id, and with it this number of processes.
pub const CONTAINER_USER_PROCESSES_MAX: u64 = 32_768;
pub const CONTAINER_SHM_BYTES: u64 = 4 * MIB as u64;
pub const SERVICE_START_TIMEOUT: Duration = Duration::from_secs(20);
pub const SERVICE_STOP_TIMEOUT: Duration = Duration::from_secs(10);
pub const SERVICE_RESTART_DELAY_MIN: Duration = Duration::from_millis(100);
pub const SERVICE_RESTART_DELAY_MAX: Duration = Duration::from_secs(10);
/// A service that lived this long is restarted without delay.
pub const SERVICE_STEADY: Duration = Duration::from_secs(30);

// Invocations.
pub const RESPONSE_BYTES_MAX: usize = 6 * MIB;
pub const RESPONSE_HEADERS_MAX: usize = 64;
pub const RESPONSE_HEADER_BYTES_MAX: usize = 8 * KIB;
pub const INSTANCE_CONNECTIONS_MAX: usize = 8;
/// From the container's start to its first `next`.
pub const INSTANCE_INIT_TIMEOUT: Duration = Duration::from_secs(10);
pub const INSTANCE_SCRATCH_BYTES: u64 = 16 * MIB as u64;
pub const INSTANCE_PIDS_MAX: i64 = 64;
/// Containers being created and started at once: more only makes each slower.
pub const INSTANCE_STARTS_CONCURRENT_MAX: usize = 2;
/// Calls that wait for a place, on the whole host.
pub const INVOKE_WAITING_MAX: usize = 1_000;
/// A call waits this long for a place before it is refused.
pub const INVOKE_WAIT_MAX: Duration = Duration::from_secs(10);
/// A container is removed this long after its answer.
pub const REMOVE_DELAY: Duration = Duration::from_millis(10);
pub const REMOVE_ATTEMPTS: u32 = 3;
pub const REMOVE_RETRY_DELAY: Duration = Duration::from_millis(200);
/// Creating and starting a container, its socket included.
pub const INSTANCE_START_TIMEOUT: Duration = Duration::from_secs(20);
/// One attempt to kill or remove a container.
pub const INSTANCE_END_TIMEOUT: Duration = Duration::from_secs(8);
/// Containers that may await their removal before no other is started.
pub const INSTANCES_ENDING_MAX: usize = 16;
pub const MEMORY_READ_TIMEOUT: Duration = Duration::from_secs(1);
/// After a process has ended, what it had sent is still read for this long.
pub const ANSWER_GRACE: Duration = Duration::from_millis(250);
/// Seconds that a call which finds all places taken may be told to wait.
pub const RETRY_AFTER_SECONDS_MIN: u64 = 1;
pub const RETRY_AFTER_SECONDS_MAX: u64 = 120;
/// Buffer of one connection to the Runtime API.
pub const RUNTIME_BUFFER_BYTES: usize = 64 * KIB;
pub const RUNTIME_HEAD_BYTES_MAX: usize = 16 * KIB;
pub const RUNTIME_HEADERS_MAX: usize = 64;
/// How long the Runtime API waits after a connection could not be accepted.
pub const RUNTIME_ACCEPT_BACKOFF: Duration = Duration::from_millis(20);
/// What a function posts as its error.
pub const ERROR_REPORT_BYTES_MAX: usize = 256 * KIB;
pub const ERROR_MESSAGE_BYTES_MAX: usize = 8 * KIB;
pub const ERROR_TYPE_BYTES_MAX: usize = 256;
/// A path to a Unix socket, with the byte that ends it, is at most 108 bytes.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
pub const LOG_BYTES_PER_CALL_MAX: usize = 64 * KIB;
/// Of these bytes, how many are the first that were written; the rest are the last.
pub const LOG_HEAD_BYTES: usize = 16 * KIB;
/// What is dropped from a log is dropped in pieces of this size.
pub const LOG_PIECE_BYTES: usize = 4 * KIB;
pub const LOG_LINE_BYTES_MAX: usize = 8 * KIB;
pub const LOG_LINES_PER_CALL_MAX: usize = 1_000;
/// A failure's last lines may come this long after it.
pub const LOG_SETTLE: Duration = Duration::from_millis(25);
/// What a removed container had written is read for this long.
pub const LOG_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
pub const RECORD_QUEUE_MAX: usize = 10_000;
/// Logs in the queue of records, all together; over it records go without theirs.
pub const RECORD_QUEUE_LOG_BYTES_MAX: usize = 64 * MIB;
pub const RECORD_BATCH_MAX: usize = 200;
pub const RECORD_ATTEMPTS: u32 = 4;
pub const RECORD_RETRY_DELAY: Duration = Duration::from_millis(250);
/// Rows of function_logs kept per function, and days that rows of invocations are kept.
pub const LOG_ROWS_PER_FUNCTION_MAX: u64 = 10_000;
pub const INVOCATIONS_KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

pub const PRUNE_INTERVAL: Duration = Duration::from_secs(600);

// Tokens.
pub const ADMIN_TOKEN_CHARS_MIN: usize = 32;
pub const TOKEN_BYTES_MAX: usize = 512;
pub const TOKEN_RANDOM_BYTES: usize = 32;
/// Tokens that are known without asking the database, and for how long: a revoked one is good for
/// no longer than this.
pub const TOKEN_CACHE_MAX: usize = 1_024;
pub const TOKEN_CACHE_KEPT: Duration = Duration::from_secs(2);

// Function limits that an operator or client may set.
pub const MEMORY_MIB_MIN: u32 = 16;
pub const MEMORY_MIB_MAX: u32 = 64 * 1024;
pub const CPU_MILLIS_MIN: u32 = 10;
pub const CPU_MILLIS_MAX: u32 = 64_000;
pub const TIMEOUT_MS_MIN: u32 = 100;
pub const TIMEOUT_MS_MAX: u32 = 15 * 60 * 1000;
pub const CONCURRENCY_MAX: u32 = 1_000;

// Plugins.
pub const PLUGIN_BYTES_MAX: u64 = 64 * MIB as u64;
pub const PLUGIN_SETTINGS_BYTES_MAX: usize = MIB;
pub const PLUGIN_MEMORY_BYTES_MAX: usize = 128 * MIB;
pub const PLUGIN_TICK: Duration = Duration::from_millis(5);
pub const PLUGIN_CPU_MAX: Duration = Duration::from_millis(500);
pub const PLUGIN_WALL_MAX: Duration = Duration::from_secs(1);
pub const PLUGIN_HOSTCALL_FUEL: usize = MIB;
pub const PLUGIN_LOG_LINES_MAX: usize = 100;
pub const PLUGIN_LOG_BYTES_MAX: usize = 16 * KIB;
pub const PLUGIN_FINDINGS_MAX: usize = 32;
pub const PLUGIN_FINDING_TEXT_BYTES_MAX: usize = 1024;
pub const PLUGINS_MAX: usize = 64;
pub const PLUGIN_INSTANCES_MAX: u32 = 64;
pub const PLUGIN_MANIFEST_BYTES_MAX: usize = MIB;
pub const PLUGIN_NAME_BYTES_MAX: usize = 63;
/// A call waits this long for a free instance before it is given up as `busy`.
pub const PLUGIN_WAIT_MAX: Duration = Duration::from_millis(500);
/// Calls of the log import in one plugin call; one more ends the call.
pub const PLUGIN_LOG_CALLS_MAX: usize = 10_000;
pub const PLUGIN_STDIO_BYTES_MAX: usize = 16 * KIB;
pub const PLUGIN_HANDLES_MAX: usize = 1_000;
pub const PLUGIN_RANDOM_BYTES_MAX: u64 = 64 * KIB as u64;
pub const PLUGIN_STACK_BYTES: usize = 512 * KIB;
pub const PLUGIN_ASYNC_STACK_BYTES: usize = 2 * MIB;
pub const PLUGIN_TABLE_ELEMENTS_MAX: usize = 50_000;
/// Python components have more than 32.
pub const PLUGIN_CORE_INSTANCES_MAX: usize = 200;
pub const PLUGIN_MEMORIES_MAX: usize = 8;
pub const PLUGIN_TABLES_MAX: usize = 32;
pub const PLUGIN_INSTANCE_DATA_BYTES_MAX: usize = 10 * MIB;
/// What a free place keeps of the memory its last call touched, so that the next finds it mapped.
pub const PLUGIN_MEMORY_KEPT_BYTES: usize = 4 * MIB;
pub const PLUGIN_TABLE_KEPT_BYTES: usize = 256 * KIB;
pub const PLUGIN_WARM_PLACES_MAX: u32 = 16;
pub const PLUGIN_RULES_MAX: usize = 256;
pub const PLUGIN_RULE_BYTES_MAX: usize = 64;
pub const PLUGIN_SCHEMA_BYTES_MAX: usize = 256 * KIB;
pub const PLUGIN_LANGUAGES_MAX: usize = 32;
/// Aliases, versions or markers of one language.
pub const PLUGIN_LANGUAGE_WORDS_MAX: usize = 32;
pub const PLUGIN_LANGUAGE_WORD_BYTES_MAX: usize = 64;
pub const PLUGIN_MARKER_BYTES_MAX: usize = 256;
pub const PLUGIN_REASON_BYTES_MAX: usize = 512;
/// Over this a response's body is not passed to post-processors.
pub const POST_PROCESS_BODY_BYTES_MAX: usize = 512 * KIB;

// Storage.
pub const S3_PART_BYTES: usize = 8 * MIB;
/// Parts in memory and on the way at once, of all uploads together.
pub const S3_PARTS_CONCURRENT_MAX: usize = 4;
pub const S3_PARTS_MAX: u64 = 10_000;
pub const S3_ATTEMPTS: u32 = 4;
pub const S3_BACKOFF_FIRST: Duration = Duration::from_millis(200);
pub const S3_BACKOFF_MAX: Duration = Duration::from_secs(5);
pub const S3_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From sending a request, a part's bytes included, to the first byte of the answer.
pub const S3_READ_TIMEOUT: Duration = Duration::from_secs(60);
pub const S3_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(90);
/// A body on which nothing has moved for so long is given up.
pub const S3_STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// What an error repeats of an object store's own words.
pub const S3_MESSAGE_CHARS_MAX: usize = 256;
pub const BLOB_KEY_BYTES_MAX: usize = 512;
pub const BLOBS_LISTED_MAX: usize = 100_000;

// Database.
pub const POSTGRES_CONNECTIONS_MAX: u32 = 10;
/// Each is a thread; writers take turns anyway.
pub const SQLITE_CONNECTIONS_MAX: u32 = 4;
/// How long SQLite waits for the write lock of another process, such as `dunnage token`.
pub const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(10);
pub const SQLITE_OPEN_ATTEMPTS: u32 = 10;
/// To wait for a free connection of the pool, or for a new one.
pub const DB_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);
pub const POSTGRES_STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// One call of `Db`, with all its waiting and trying again.
pub const DB_OPERATION_TIMEOUT: Duration = Duration::from_secs(60);
pub const DB_PING_TIMEOUT: Duration = Duration::from_secs(3);
pub const MIGRATION_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// How often a transaction is begun anew when PostgreSQL ends it for another's sake.
pub const DB_TRANSACTION_ATTEMPTS: u32 = 5;
/// Before the second attempt; twice that before the third, and so on.
pub const DB_RETRY_DELAY: Duration = Duration::from_millis(20);
/// Rows of one statement that inserts or removes many.
pub const DB_BATCH_ROWS: usize = 500;
/// Rows that one list gives at most, whatever is asked for.
pub const DB_LIST_ROWS_MAX: u64 = 10_000;

const _: () = assert!(POSTGRES_STATEMENT_TIMEOUT.as_secs() < DB_OPERATION_TIMEOUT.as_secs());
const _: () = assert!(SQLITE_BUSY_TIMEOUT.as_secs() < DB_OPERATION_TIMEOUT.as_secs());
const _: () = assert!(S3_PART_BYTES >= 5 * MIB, "S3 refuses smaller parts but for the last");
const _: () = assert!(ARCHIVE_BYTES_MAX / (S3_PART_BYTES as u64) < S3_PARTS_MAX);
const _: () = assert!(S3_READ_TIMEOUT.as_secs() < S3_ATTEMPT_TIMEOUT.as_secs());
const _: () = assert!(PLUGIN_STACK_BYTES < PLUGIN_ASYNC_STACK_BYTES, "host functions need the rest");
const _: () = assert!(PLUGIN_TICK.as_millis() < PLUGIN_CPU_MAX.as_millis());
const _: () = assert!(PLUGIN_CPU_MAX.as_millis() <= PLUGIN_WALL_MAX.as_millis());
const _: () = assert!(POST_PROCESS_BODY_BYTES_MAX < PLUGIN_HOSTCALL_FUEL);
const _: () = assert!(ARCHIVE_BYTES_MAX <= UNPACKED_BYTES_MAX);
const _: () = assert!(LOG_HEAD_BYTES + 2 * LOG_PIECE_BYTES < LOG_BYTES_PER_CALL_MAX);
const _: () = assert!(RESPONSE_BYTES_MAX >= ERROR_REPORT_BYTES_MAX);
