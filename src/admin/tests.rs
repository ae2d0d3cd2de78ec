//! Tests of the endpoints over real connections.
