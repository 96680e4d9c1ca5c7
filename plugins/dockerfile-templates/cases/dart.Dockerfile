# What the image of a Dart function is made of. What stands in double braces is replaced by
# dockerfile-templates; its README lists the names. Each deploy reads this file again.

# The first stage has the SDK: the operator's base image, else the official one.
FROM docker.io/library/dart:stable AS build
WORKDIR /build

# Packages are fetched before the sources are copied, so that this layer is reused until
# pubspec.yaml changes. It needs podman.build_network in the host's configuration.
COPY src/pubspec.* ./
RUN dart pub get

# One executable that needs no SDK. The packages are here already, so nothing is fetched again.
COPY src/ ./
RUN dart pub get --offline && dart compile exe bin/main.dart -o /build/function

# The second stage, which becomes the image, has only what the executable loads.
FROM scratch

# How the host talks to the program: it is run once per call.
LABEL org.dunnage.contract=one-shot

# The official image keeps the few libraries that an executable needs in /runtime/.
COPY --from=build /runtime/ /
COPY --from=build /build/function /function

# A list, since there is no shell.
ENTRYPOINT ["/function"]
