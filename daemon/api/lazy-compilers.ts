/**
 * Functions that check and write what the schemas say, each made when it is first needed: there are some hundreds, a request needs two
 * or three, and making them all took a second of a small board's start.
 */
import { SerializerSelector } from '@fastify/fast-json-stringify-compiler';
import { TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifySchemaCompiler, FastifySerializerCompiler } from 'fastify';

/** A function that is made when it is first called. */
function lazily<Value, Result>(make: () => (value: Value) => Result): (value: Value) => Result {
  let made: ((value: Value) => Result) | undefined;
  return (value) => (made ??= make())(value);
}

/** Sets the compilers of a server whose shared schemas are all added at its root. */
export function useLazyCompilers(app: FastifyInstance): void {
  const validator: FastifySchemaCompiler<never> = (route) => lazily(() => TypeBoxValidatorCompiler(route));
  const factory = SerializerSelector();
  let compile: ReturnType<typeof factory> | undefined;
  const serializer: FastifySerializerCompiler<unknown> = (route) =>
    lazily(() => (compile ??= factory(app.getSchemas()))(route as never));
  app.setValidatorCompiler(validator);
  app.setSerializerCompiler(serializer);
}
