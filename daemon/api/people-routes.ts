/** People of the town, their badges, and enrolling a badge by holding it to a reader. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { TownNode } from '../node/use-cases.js';
import { tokenOf } from './caller.js';
import * as input from './inputs.js';
import {
  badgeRecordedView,
  enrolmentStartedView,
  enrolmentView,
  listOf,
  personRecordedView,
  personView,
  recordedView,
} from './views.js';

/** Needs `requireSession` before it. */
export const peopleRoutes: FastifyPluginAsyncTypebox<{ readonly node: TownNode }> = async (app, { node }) => {
  const tags = ['people and badges'];
  const person = () => input.id('a person');

  app.get(
    '/api/people',
    { schema: { tags, summary: 'Everyone the town knows', response: input.answers(listOf(personView)) } },
    async (request) => node.people(tokenOf(request)),
  );

  app.post(
    '/api/people',
    {
      schema: {
        tags,
        summary: 'Adds a person',
        body: input.exactly({ name: input.name(), contact: Type.Optional(input.contact()) }),
        response: input.answers(personRecordedView),
      },
    },
    async (request) => node.addPerson(tokenOf(request), request.body),
  );

  app.post(
    '/api/people/:id/suspend',
    {
      schema: {
        tags,
        summary: 'Suspends a person: every badge is refused at once',
        params: input.pathWith('id', person()),
        body: input.exactly({ reason: input.reason() }),
        response: input.answers(recordedView),
      },
    },
    async (request) => node.suspendPerson(tokenOf(request), request.params.id, request.body.reason),
  );

  app.post(
    '/api/people/:id/reinstate',
    {
      schema: {
        tags,
        summary: 'Takes a suspension back',
        params: input.pathWith('id', person()),
        response: input.answers(recordedView),
      },
    },
    async (request) => node.reinstatePerson(tokenOf(request), request.params.id),
  );

  app.post(
    '/api/badges',
    {
      schema: {
        tags,
        summary: 'Enrols a badge by its number',
        body: input.exactly({
          person: person(),
          badgeNumber: input.badgeNumber(),
          doors: Type.Optional(input.doors()),
          until: Type.Optional(input.until()),
        }),
        response: input.answers(badgeRecordedView),
      },
    },
    async (request) => node.enrolBadge(tokenOf(request), request.body),
  );

  app.post(
    '/api/badges/:badge/revoke',
    {
      schema: {
        tags,
        summary: 'Revokes a badge: refused at every door at once',
        params: input.pathWith('badge', input.id('a badge')),
        body: input.exactly({ reason: input.reason() }),
        response: input.answers(recordedView),
      },
    },
    async (request) => node.revokeBadge(tokenOf(request), request.params.badge, request.body.reason),
  );

  app.post(
    '/api/enrolments',
    {
      schema: {
        tags,
        summary: 'Enrols the next unknown badge held to a door within a minute',
        body: input.exactly({
          person: person(),
          door: input.doorId(),
          doors: Type.Optional(input.doors()),
        }),
        response: input.answers(enrolmentStartedView),
      },
    },
    async (request) => node.startEnrolment(tokenOf(request), request.body),
  );

  app.get(
    '/api/enrolments/:id',
    {
      schema: {
        tags,
        summary: 'How an enrolment stands',
        params: input.pathWith('id', input.id('an enrolment')),
        response: input.answers(enrolmentView),
      },
    },
    async (request) => node.enrolment(tokenOf(request), request.params.id),
  );

  app.delete(
    '/api/enrolments/:id',
    {
      schema: {
        tags,
        summary: 'Gives an enrolment up',
        params: input.pathWith('id', input.id('an enrolment')),
        response: input.answersNothing(),
      },
    },
    async (request, reply) => {
      node.cancelEnrolment(tokenOf(request), request.params.id);
      reply.code(204);
      return null;
    },
  );
};
