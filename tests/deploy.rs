//! The receiving half of a deploy: uploads, archives, build contexts and the host's rules for plans.

mod bombs;
mod context;
mod dockerfile;
mod forge;
mod form;
mod hostile;
mod mutation;
mod normal;
mod upload;
