//! The WIT packages as Rust types: everything a plugin may export, in one world, so that the types
//! shared between interfaces are one Rust type each.
//!
//! No component exports all of this. Each interface is looked up by itself in what a component has.

wasmtime::component::bindgen!({
    path: "../wit",
    inline: "
        package dunnage:host;

        world every-point {
            import dunnage:plugin/log@0.1.0;
            export dunnage:plugin/guest@0.1.0;
            export dunnage:build/dockerfile@0.1.0;
            export dunnage:admission/on-deploy@0.1.0;
            export dunnage:admission/on-invoke@0.1.0;
            export dunnage:response/post-process@0.1.0;
        }
    ",
    world: "dunnage:host/every-point",
    imports: { default: trappable },
    exports: { default: async },
});
