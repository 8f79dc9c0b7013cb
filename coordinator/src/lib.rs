//! Every decision about half messages. Time comes in as an argument, effects go out as values.
