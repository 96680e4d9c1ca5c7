# What the image of a static program is made of: the program. What stands in double braces is
# replaced by dockerfile-templates; its README lists the names. Each deploy reads this file again.

# Nothing: no shell, no libraries, so the program must be linked statically.
FROM scratch

# How the host talks to the program: one-shot runs it once per call, runtime-api has it ask for
# calls itself. The languages static and static-runtime differ in this line alone.
LABEL org.dunnage.contract=one-shot

# Archives made on other systems lose the executable bit, so it is set here.
COPY --chmod=0755 src/hello-static /function

# A list, since there is no shell.
ENTRYPOINT ["/function"]
