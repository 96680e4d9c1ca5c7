//! Dunnage, a self-hosted function platform.
#![doc = include_str!("../README.md")]

pub mod app;
pub mod blobs;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod containers;
pub mod db;
pub mod deploy;
pub mod http;
pub mod invoke;
pub mod limits;
pub mod metrics;
pub mod model;
pub mod plugins;
pub mod reconcile;
pub mod telemetry;
