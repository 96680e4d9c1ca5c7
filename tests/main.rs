//! The one test binary. `tests/run.sh` starts what it needs (Podman, PostgreSQL, S3) and says where
//! in the environment; every part is real.

mod blobs;
mod cases;
mod containers;
mod db;
mod deploy;
mod http;
mod invoke;
mod plugins;
mod stories;
mod support;
mod tidy;
