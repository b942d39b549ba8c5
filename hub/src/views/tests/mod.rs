//! The views as a whole, over a real log.

mod model;
mod random;
mod searches;
mod stories;
mod world;
