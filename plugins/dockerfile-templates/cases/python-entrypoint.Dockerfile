# What the image of a Python function is made of. What stands in double braces is replaced by
# dockerfile-templates; its README lists the names. Each deploy reads this file again.

# The operator's base image, else the language's own: it has /usr/bin/python3.
FROM localhost/dunnage/python:latest

# How the host talks to the program: by the loop below.
LABEL org.dunnage.contract=runtime-api

# The loop takes calls from the host and hands each to the handler. Layers that change seldom come
# first, so that a new version of a function reuses them.
COPY plan/runtime.py /opt/dunnage/runtime.py

# The handler, as module.function. It is found from the working directory, which is where the
# function's files are. Packages are packed with them: pip is not run here.
ENV DUNNAGE_HANDLER=app.views.run
WORKDIR /app
COPY src/ /app/

# A list, so that no shell stands between dunnage-init and the program.
ENTRYPOINT ["/usr/bin/python3", "/opt/dunnage/runtime.py"]
