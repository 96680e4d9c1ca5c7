//! Plugins: what the host makes of good, wrong and hostile components.

mod calls;
mod folder;
mod guests;
mod hostile;
mod loading;
mod settings;
