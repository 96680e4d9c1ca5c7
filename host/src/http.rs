//! HTTP: translates requests into calls of the cores and their answers back. Only this module
//! knows status codes.
