//! What the API answers, asked as its users ask.

#![cfg(test)]

mod bulk;
mod during;
mod errors;
mod graph;
mod history;
mod http;
mod letters;
mod lists;
mod log;
mod models;
mod mutations;
mod queries;
mod schema;
mod search;
mod socket;
mod subscriptions;
mod tiles;
mod world;
